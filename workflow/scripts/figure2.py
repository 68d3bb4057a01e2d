import pandas as pd

from frankenstein.claims import reference
from frankenstein.core import logs
from frankenstein.report import figures, papertables

logs.redirect(snakemake.log[0])
scores, published = pd.read_csv(snakemake.input.scores), reference.read(snakemake.input.reference)
bars = papertables.figure2(scores, snakemake.params.benchmarks, published)
bars.to_csv(snakemake.output.table, index=False)
figures.save(figures.figure2(bars), snakemake.output.pdf, snakemake.output.png)
