import pandas as pd

from frankenstein import logs, plots, profiles
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
slopes = profiles.slopes(pd.concat(map(pd.read_csv, snakemake.input.records)), regions)
slopes.to_csv(snakemake.output.table, index=False)
spectra = pd.read_csv(snakemake.input.spectra)
plots.save(plots.spectra(spectra, slopes, regions), snakemake.output.pdf, snakemake.output.png)
