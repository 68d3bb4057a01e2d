import pandas as pd

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.report import curves, figures

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
rates = curves.by_function(pd.read_csv(snakemake.input.rates))
rates.to_csv(snakemake.output.table, index=False)
figures.save(figures.heatmap(rates, regions), snakemake.output.pdf, snakemake.output.png)
