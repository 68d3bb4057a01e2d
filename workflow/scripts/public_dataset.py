from pathlib import Path

from frankenstein.core import logs
from frankenstein.data import published
from frankenstein.models import hub

logs.redirect(snakemake.log[0])
dataset = snakemake.params.dataset
given = Path(snakemake.input.files)
published.dataset(
    snakemake.wildcards.task,
    dataset["benchmark"],
    [given] if dataset["path"] else hub.files(given),
    Path(snakemake.output.examples),
    Path(snakemake.output.images),
    category=dataset["category"],
    n=dataset["sample"],
    seed=snakemake.params.seed,
    instruction=dataset["instruction"],
    as_published=dataset["wording"] == "published",
)
