from pathlib import Path

from frankenstein.core import logs
from frankenstein.mini import benchmarks

logs.redirect(snakemake.log[0])
benchmarks.write_examples(
    snakemake.wildcards.task,
    Path(snakemake.output.examples),
    Path(snakemake.output.images),
    n=snakemake.params.examples,
    seed=snakemake.params.seed,
)
