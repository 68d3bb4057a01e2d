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
pairs = Path(snakemake.input.pairs)
model, processor = loading.load_model(manifests.directory_of(snakemake.input.manifest))
with open(snakemake.output.records, "w") as file:
    for record in interventions.swap_sweep(
        model,
        processor,
        tasks.read_pairs(pairs)[int(snakemake.wildcards.shard) :: snakemake.params.shards],
        pairs.parent,
        system=snakemake.params.system_prompt,
        modes=snakemake.params.modes,
        unequal=snakemake.params.unequal,
        memory_mb=snakemake.params.memory_mb,
        max_new_tokens=snakemake.params.max_new_tokens,
    ):
        file.write(json.dumps(record) + "\n")
