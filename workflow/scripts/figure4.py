import pandas as pd

from frankenstein import logs, plots, profiles
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
changes = profiles.change_rates(pd.read_csv(snakemake.input.swaps))
errors = profiles.error_rates(pd.read_csv(snakemake.input.skips))
parts = [changes.rename(columns={"mode": "probe"}), errors.assign(probe="skip").rename(columns={"task": "function"})]
pd.concat(parts).to_csv(snakemake.output.table, index=False)
plots.save(plots.figure4(changes, errors, regions), snakemake.output.pdf, snakemake.output.png)
