import pandas as pd

from frankenstein import checkpoints, logs, plots, profiles, tasks

logs.redirect(snakemake.log[0])
regions = checkpoints.regions_of(snakemake.input.manifest, snakemake.params.cuts)
# An empty response is an answer; a missing one is not, and is told apart by its error.
records = [pd.read_json(path, lines=True) for path in (*snakemake.input.swaps, *snakemake.input.skips)]
swaps, skips = pd.concat(records[:-1]), records[-1]
pairs = [pair for path in snakemake.input.pairs for pair in tasks.read_pairs(path)]
changes = profiles.change_rates(swaps, pairs)
errors = profiles.error_rates(skips, tasks.read_examples(snakemake.input.examples))
both = {"vision-token swapping": changes, "layer skipping": errors.rename(columns={"task": "function"})}
pd.concat([part.assign(probe=probe) for probe, part in both.items()]).to_csv(snakemake.output.table, index=False)
plots.save(plots.figure4(changes, errors, regions), snakemake.output.pdf, snakemake.output.png)
