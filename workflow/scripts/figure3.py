import pandas as pd

from frankenstein import checkpoints, logs, plots, profiles

logs.redirect(snakemake.log[0])
regions = checkpoints.regions_of(snakemake.input.manifest, snakemake.params.cuts)
records = pd.concat(
    pd.read_csv(path).assign(recipe=recipe, stage=stage)
    for path, (recipe, stage) in zip(snakemake.input.records, snakemake.params.labels, strict=True)
)
profile = profiles.attention(records)
profile.to_csv(snakemake.output.table, index=False)
plots.save(plots.figure3(profile, regions), snakemake.output.pdf, snakemake.output.png)
