from pathlib import Path

from frankenstein.core import logs
from frankenstein.mini import benchmarks

logs.redirect(snakemake.log[0])
benchmarks.write_pairs(
    snakemake.wildcards.function,
    Path(snakemake.output.pairs),
    Path(snakemake.output.images),
    n=snakemake.params.pairs,
    seed=snakemake.params.seed,
)
