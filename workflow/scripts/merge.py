from pathlib import Path

from frankenstein import checkpoints, logs, merging

logs.redirect(snakemake.log[0])
params, labels = snakemake.params, snakemake.params.donors
spec, cuts = params.spec
out = Path(snakemake.output.model)
merging.merge(
    {label: checkpoints.directory_of(snakemake.input[label]) for label in labels},
    spec,
    out,
    cuts=cuts,
    rest_from=params.rest_from,
    layout=params.layout,
    stores=dict(zip(labels, map(Path, snakemake.input.shards), strict=False)),
    command=f"snakemake {snakemake.output.model}",
)
merging.verify(out)
checkpoints.write_manifest(snakemake.output.manifest, out, {"hybrid": spec, "cuts": cuts})
