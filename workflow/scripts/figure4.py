import pandas as pd

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.report import curves, figures

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
changes = curves.change_rates(pd.read_csv(snakemake.input.swaps))
errors = curves.error_rates(pd.read_csv(snakemake.input.skips))
parts = [changes.rename(columns={"mode": "probe"}), errors.assign(probe="skip").rename(columns={"task": "function"})]
pd.concat(parts).to_csv(snakemake.output.table, index=False)
figures.save(figures.figure4(changes, errors, regions), snakemake.output.pdf, snakemake.output.png)
