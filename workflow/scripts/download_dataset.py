from pathlib import Path

from frankenstein.core import logs
from frankenstein.models import hub

logs.redirect(snakemake.log[0])
source = snakemake.params.source
hub.fetch(Path(snakemake.output.account), source["repo"], source["revision"], [source["pattern"]], "dataset")
