import pandas as pd

from frankenstein import logs, papertables, plots

logs.redirect(snakemake.log[0])
bars = papertables.figure2(pd.read_csv(snakemake.input.scores), snakemake.params.benchmarks)
bars.to_csv(snakemake.output.table, index=False)
plots.save(plots.figure2(bars), snakemake.output.pdf, snakemake.output.png)
