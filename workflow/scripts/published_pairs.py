from pathlib import Path

from frankenstein.core import logs
from frankenstein.data import published_pairs

logs.redirect(snakemake.log[0])
published_pairs.pairs(
    Path(snakemake.input.pairs) / snakemake.wildcards.function / "data.jsonl",
    Path(snakemake.output.pairs),
    Path(snakemake.output.images),
    n=snakemake.params.pairs,
)
