from pathlib import Path

from frankenstein import checkpoints, logs

logs.redirect(snakemake.log[0])
directory = Path(snakemake.params.source["path"])
checkpoints.write_manifest(snakemake.output.manifest, directory, {"path": str(directory)})
