import pandas as pd

from frankenstein import logs, plots, profiles
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
records = pd.concat(map(pd.read_csv, snakemake.input.records))
profiles.energy_shares(records, regions).to_csv(snakemake.output.shares, index=False)
energy = profiles.energy(records, regions, snakemake.params.seed)
energy.to_csv(snakemake.output.table, index=False)
plots.save(plots.figure5(energy, regions), snakemake.output.pdf, snakemake.output.png)
