from frankenstein.core import logs
from frankenstein.core.regions import Regions

logs.redirect(snakemake.log[0])
Regions.of_manifest(snakemake.input.manifest, snakemake.params.cuts).write(snakemake.output.regions)
