from pathlib import Path

from frankenstein.core import logs
from frankenstein.models import checkpoints, hub

logs.redirect(snakemake.log[0])
source = snakemake.params.source
folder = hub.fetch(Path(snakemake.output.account), source["hub"], source["revision"], hub.CHECKPOINT, "model")
checkpoints.write_manifest(snakemake.output.manifest, folder, source)
