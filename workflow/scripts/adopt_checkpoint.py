from pathlib import Path

from frankenstein.core import logs
from frankenstein.models import checkpoints

logs.redirect(snakemake.log[0])
directory = Path(snakemake.params.source["path"])
checkpoints.write_manifest(snakemake.output.manifest, directory, {"path": str(directory)})
