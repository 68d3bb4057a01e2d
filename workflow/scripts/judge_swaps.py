from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.grading import probes

logs.redirect(snakemake.log[0])
pairs = [pair for path in snakemake.input.pairs for pair in tasks.read_pairs(path)]
table = probes.swap_table(probes.read_records(snakemake.input.records), pairs)
table.to_csv(snakemake.output.table, index=False)
