from pathlib import Path

from frankenstein.core import jsonl, logs
from frankenstein.data import tasks
from frankenstein.inference import cache, descriptions, engines, prompts
from frankenstein.models import gpu

logs.redirect(snakemake.log[0])
gpu.claim(snakemake.resources.gpu)
path, by = Path(snakemake.input.examples), snakemake.params.by
examples = tasks.read_examples(path)
if by["file"]:
    records = descriptions.from_file(Path(by["file"]), examples)
else:
    engine, settings = engines.helper(
        by, snakemake.input.get("manifest"), snakemake.params.engine, snakemake.params.max_pixels
    )
    store = cache.ResponseCache(Path(snakemake.params.store), settings | {"prompts": prompts.code()})
    records = descriptions.by_model(engine, examples, path.parent, by["prompt"], snakemake.params.batch, store)
with open(snakemake.output.descriptions, "w") as file:
    file.writelines(map(jsonl.line, records))
