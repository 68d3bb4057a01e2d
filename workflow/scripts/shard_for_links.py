from pathlib import Path

from frankenstein import checkpoints, logs, merging

logs.redirect(snakemake.log[0])
merging.store(checkpoints.directory_of(snakemake.input.manifest), Path(snakemake.output.shards))
