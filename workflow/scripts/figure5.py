import pandas as pd

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.report import curves, figures

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
records = pd.concat(map(pd.read_csv, snakemake.input.records))
curves.energy_shares(records, regions).to_csv(snakemake.output.shares, index=False)
energy = curves.energy(records, regions, snakemake.params.seed)
energy.to_csv(snakemake.output.table, index=False)
figures.save(figures.figure5(energy, regions), snakemake.output.pdf, snakemake.output.png)
