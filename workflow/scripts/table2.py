import pandas as pd

from frankenstein.claims import reference
from frankenstein.core import logs
from frankenstein.report import papertables

logs.redirect(snakemake.log[0])
scores, published = pd.read_csv(snakemake.input.scores), reference.read(snakemake.input.reference)
table = papertables.table2(scores, snakemake.params.recipes, published)
table.to_csv(snakemake.output.table, index=False)
