from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.grading import probes

logs.redirect(snakemake.log[0])
examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
table = probes.skip_table(probes.read_records(snakemake.input.records), examples, snakemake.threads)
table.to_csv(snakemake.output.table, index=False)
