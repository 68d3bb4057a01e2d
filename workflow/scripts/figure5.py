import pandas as pd

from frankenstein import checkpoints, logs, plots, profiles

logs.redirect(snakemake.log[0])
regions = checkpoints.regions_of(snakemake.input.manifest, snakemake.params.cuts)
energy = profiles.energy(pd.concat(map(pd.read_csv, snakemake.input.records)), regions)
energy.to_csv(snakemake.output.table, index=False)
plots.save(plots.figure5(energy, regions), snakemake.output.pdf, snakemake.output.png)
