import json
from pathlib import Path

import torch

from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.inference import cache
from frankenstein.models import gpu, loading, manifests
from frankenstein.probes import decoder, interventions

logs.redirect(snakemake.log[0])
gpu.claim(snakemake.resources.gpu)
torch.set_num_threads(snakemake.threads)
params, folder = snakemake.params, Path(snakemake.input.examples[0]).parent
examples = [
    example
    for path in snakemake.input.examples
    for example in tasks.read_examples(path)[: params.examples][int(snakemake.wildcards.shard) :: params.shards]
]
directory = decoder.checked(manifests.directory_of(snakemake.input.manifest))
model, processor = loading.load_model(directory, gpus=snakemake.resources.gpu)
settings = {key: params[key] for key in ("system_prompt", "max_new_tokens", "code", "family")}
store = cache.probe_store(params.store, snakemake.input.manifest, settings)


def sweep(some):
    return interventions.skip_sweep(
        model,
        processor,
        some,
        folder,
        system=params.system_prompt,
        memory_mb=params.memory_mb,
        max_new_tokens=params.max_new_tokens,
    )


with open(snakemake.output.records, "w") as file:
    for record in cache.resumed(store, examples, folder, sweep, task="task"):
        file.write(json.dumps(record) + "\n")
