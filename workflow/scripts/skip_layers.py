import json
from pathlib import Path

import torch

from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.models import gpu, loading, manifests
from frankenstein.probes import interventions

logs.redirect(snakemake.log[0])
gpu.claim()
torch.set_num_threads(snakemake.threads)
examples = [
    example
    for path in snakemake.input.examples
    for example in tasks.read_examples(path)[: snakemake.params.examples][
        int(snakemake.wildcards.shard) :: snakemake.params.shards
    ]
]
model, processor = loading.load_model(manifests.directory_of(snakemake.input.manifest))
with open(snakemake.output.records, "w") as file:
    for record in interventions.skip_sweep(
        model,
        processor,
        examples,
        Path(snakemake.input.examples[0]).parent,
        system=snakemake.params.system_prompt,
        memory_mb=snakemake.params.memory_mb,
        max_new_tokens=snakemake.params.max_new_tokens,
    ):
        file.write(json.dumps(record) + "\n")
