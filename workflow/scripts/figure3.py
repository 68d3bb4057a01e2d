import pandas as pd

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.report import curves, figures

logs.redirect(snakemake.log[0])
regions = Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts)
records = pd.concat(
    pd.read_csv(path).assign(recipe=recipe, stage=stage)
    for path, (recipe, stage) in zip(snakemake.input.records, snakemake.params.labels, strict=True)
)
curves.attention_differences(records, regions).to_csv(snakemake.output.differences, index=False)
profile = curves.attention(records)
profile.to_csv(snakemake.output.table, index=False)
figures.save(figures.figure3(profile, regions), snakemake.output.pdf, snakemake.output.png)
