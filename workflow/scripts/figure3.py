import pandas as pd

from frankenstein import logs, plots, profiles
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
records = pd.concat(
    pd.read_csv(path).assign(recipe=recipe, stage=stage)
    for path, (recipe, stage) in zip(snakemake.input.records, snakemake.params.labels, strict=True)
)
profiles.attention_differences(records, regions).to_csv(snakemake.output.differences, index=False)
profile = profiles.attention(records)
profile.to_csv(snakemake.output.table, index=False)
plots.save(plots.figure3(profile, regions), snakemake.output.pdf, snakemake.output.png)
