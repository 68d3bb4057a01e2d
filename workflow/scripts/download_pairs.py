from pathlib import Path

from frankenstein.core import logs
from frankenstein.data import published_pairs

logs.redirect(snakemake.log[0])
published_pairs.fetch_pairs(*published_pairs.PAIRS, Path(snakemake.output.pairs))
