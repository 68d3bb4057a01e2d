import pandas as pd

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.report import curves

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
names = ("attention", "localization", "energy", "spectra")
frames = {name: pd.read_csv(path) for name in names if (path := snakemake.input.get(name))}
curves.regions_table(regions, **frames).to_csv(snakemake.output.table, index=False)
