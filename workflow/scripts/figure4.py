import pandas as pd

from frankenstein import logs, plots, profiles, tasks
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
swaps, skips = (profiles.read_records(paths) for paths in (snakemake.input.swaps, snakemake.input.skips))
pairs = [pair for path in snakemake.input.pairs for pair in tasks.read_pairs(path)]
changes = profiles.change_rates(swaps, pairs)
errors = profiles.error_rates(skips, tasks.read_examples(snakemake.input.examples))
both = {"vision-token swapping": changes, "layer skipping": errors.rename(columns={"task": "function"})}
pd.concat([part.assign(probe=probe) for probe, part in both.items()]).to_csv(snakemake.output.table, index=False)
plots.save(plots.figure4(changes, errors, regions), snakemake.output.pdf, snakemake.output.png)
