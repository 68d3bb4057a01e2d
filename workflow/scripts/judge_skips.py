from frankenstein import logs, profiles, tasks

logs.redirect(snakemake.log[0])
examples = tasks.read_examples(snakemake.input.examples)
table = profiles.skip_table(profiles.read_records(snakemake.input.records), examples)
table.to_csv(snakemake.output.table, index=False)
