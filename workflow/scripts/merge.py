from pathlib import Path

from frankenstein.core import logs
from frankenstein.merging import hybrids, verification
from frankenstein.models import checkpoints, manifests

logs.redirect(snakemake.log[0])
params, labels = snakemake.params, snakemake.params.donors
spec, cuts = params.spec
out = Path(snakemake.output.model)
hybrids.merge(
    {label: manifests.directory_of(snakemake.input[label]) for label in labels},
    spec,
    out,
    cuts=cuts,
    rest_from=params.rest_from,
    layout=params.layout,
    stores={label: Path(snakemake.input[f"shards.{label}"]) for label in labels if params.layout == "link"},
    command=f"snakemake {snakemake.output.model}",
)
verification.verify(out)
checkpoints.write_manifest(snakemake.output.manifest, out, {"hybrid": spec, "cuts": cuts})
