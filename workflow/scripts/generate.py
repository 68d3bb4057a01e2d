import json
from pathlib import Path

import torch

from frankenstein import checkpoints, generation, logs, tasks

logs.redirect(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
requests = [
    (example, condition)
    for path in snakemake.input.examples
    for example in tasks.read_examples(path)
    for condition in snakemake.params.conditions[example.task]
][int(snakemake.wildcards.shard) :: snakemake.params.shards]
model, processor = checkpoints.load_model(checkpoints.directory_of(snakemake.input.manifest))
with open(snakemake.output.responses, "w") as file:
    for record in generation.respond(
        model,
        processor,
        requests,
        Path(snakemake.input.examples[0]).parent,
        system=snakemake.params.system_prompt,
        batch=snakemake.params.batch,
        max_new_tokens=snakemake.params.max_new_tokens,
    ):
        file.write(json.dumps(record) + "\n")
