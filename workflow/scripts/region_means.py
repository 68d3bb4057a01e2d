import pandas as pd

from frankenstein import logs, profiles
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
frames = {name: pd.read_csv(snakemake.input[name]) for name in ("attention", "localization", "energy", "spectra")}
profiles.regions_table(**frames, regions=regions).to_csv(snakemake.output.table, index=False)
