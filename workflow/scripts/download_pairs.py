from pathlib import Path

from frankenstein.core import logs
from frankenstein.data import published

logs.redirect(snakemake.log[0])
published.fetch_pairs(*published.PAIRS, Path(snakemake.output.pairs))
