import pandas as pd

from frankenstein import checkpoints, logs, plots, profiles

logs.redirect(snakemake.log[0])
regions = checkpoints.regions_of(snakemake.input.manifest, snakemake.params.cuts)
changes = profiles.change_rates(pd.concat(map(pd.read_csv, snakemake.input.swaps)))
errors = profiles.error_rates(pd.concat(map(pd.read_csv, snakemake.input.skips)))
both = {"vision-token swapping": changes, "layer skipping": errors.rename(columns={"task": "function"})}
pd.concat([part.assign(probe=probe) for probe, part in both.items()]).to_csv(snakemake.output.table, index=False)
plots.save(plots.figure4(changes, errors, regions), snakemake.output.pdf, snakemake.output.png)
