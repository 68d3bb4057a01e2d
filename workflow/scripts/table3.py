import pandas as pd

from frankenstein import logs, papertables

logs.redirect(snakemake.log[0])
scores = pd.read_csv(snakemake.input.scores)
table = papertables.table3(scores, snakemake.params.recipes, snakemake.params.benchmarks)
table.to_csv(snakemake.output.table, index=False)
