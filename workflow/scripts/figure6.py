import pandas as pd

from frankenstein import logs, plots, profiles
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
spectra = profiles.spectra(pd.concat(map(pd.read_parquet, snakemake.input.spectra)))
spectra.to_csv(snakemake.output.table, index=False)
plots.save(plots.figure6(spectra, regions), snakemake.output.pdf, snakemake.output.png)
