import pandas as pd

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.report import curves, figures

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
spectra = curves.spectra(pd.concat(map(pd.read_parquet, snakemake.input.spectra)))
spectra.to_csv(snakemake.output.table, index=False)
figures.save(figures.figure6(spectra, regions), snakemake.output.pdf, snakemake.output.png)
