from pathlib import Path

from frankenstein.core import logs
from frankenstein.merging import links
from frankenstein.models import manifests

logs.redirect(snakemake.log[0])
links.store(manifests.directory_of(snakemake.input.manifest), Path(snakemake.output.shards))
