import pandas as pd

from frankenstein import logs, plots, profiles
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
rates = profiles.by_function(pd.read_csv(snakemake.input.rates))
rates.to_csv(snakemake.output.table, index=False)
plots.save(plots.heatmap(rates, regions), snakemake.output.pdf, snakemake.output.png)
