from pathlib import Path

from frankenstein import anatomy, checkpoints, logs, merging
from frankenstein.regions import Hybrid, Regions

logs.redirect(snakemake.log[0])
instruct, reinforced = (
    checkpoints.directory_of(path) for path in (snakemake.input.instruct, snakemake.input.reinforced)
)
directory = Path(snakemake.output.weights).parent
hybrid = Hybrid.parse(snakemake.wildcards.donors)
regions = Regions(tuple(snakemake.params.cuts), anatomy.layer_count(instruct))
merging.merge(instruct, reinforced, directory, hybrid, regions, snakemake.params.rest_from)
merging.verify(directory)
checkpoints.write_manifest(snakemake.output.manifest, directory, {"hybrid": str(hybrid)})
