from frankenstein import logs, profiles, tasks

logs.redirect(snakemake.log[0])
pairs = [pair for path in snakemake.input.pairs for pair in tasks.read_pairs(path)]
table = profiles.swap_table(profiles.read_records(snakemake.input.records), pairs)
table.to_csv(snakemake.output.table, index=False)
