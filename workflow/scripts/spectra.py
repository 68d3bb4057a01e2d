import pandas as pd

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.report import curves, figures

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
slopes = curves.slopes(pd.concat(map(pd.read_csv, snakemake.input.records)), regions)
slopes.to_csv(snakemake.output.table, index=False)
spectra = pd.read_csv(snakemake.input.spectra)
figures.save(figures.spectra(spectra, slopes, regions), snakemake.output.pdf, snakemake.output.png)
