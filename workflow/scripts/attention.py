from pathlib import Path

import pandas as pd
import torch

from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.inference import cache, responses, templates
from frankenstein.models import gpu, loading, manifests
from frankenstein.probes import attention, decoder

logs.redirect(snakemake.log[0])
gpu.claim(snakemake.resources.gpu)
torch.set_num_threads(snakemake.threads)
path = Path(snakemake.input.examples)
params = snakemake.params
examples = tasks.read_examples(path)[: params.examples][int(snakemake.wildcards.shard) :: params.shards]
directory, system = decoder.checked(manifests.directory_of(snakemake.input.manifest)), params.system_prompt
template, prompt = templates.settle(directory, snakemake.wildcards.checkpoint, system, snakemake.input.prompts)
model, processor = loading.load_model(
    directory, max_pixels=params.max_pixels, template=template, gpus=snakemake.resources.gpu
)
given = responses.by_id(snakemake.input.responses, params.task, "image")
settings = {key: params[key] for key in ("system_prompt", "max_pixels", "code", "family")}
store = cache.probe_store(
    params.store, snakemake.input.manifest, settings | {"prompt": prompt, "responses": cache.digest(given)}
)


def attend(some):
    return attention.reasoning_to_vision(
        model, processor, some, path.parent, given, system=system, memory_mb=params.memory_mb
    )


frame = pd.DataFrame(cache.resumed(store, examples, path.parent, attend))
frame.insert(0, "checkpoint", snakemake.wildcards.checkpoint)
if text := snakemake.wildcards.get("text"):
    frame.insert(1, "text", text)
else:
    heads = frame[["checkpoint", "id", "layer", "heads"]].explode("heads").rename(columns={"heads": "attention_mass"})
    heads.insert(3, "head", heads.groupby(["id", "layer"]).cumcount())
    heads.to_csv(snakemake.output.heads, index=False)
attention.maps(frame).to_parquet(snakemake.output.maps, index=False)
frame.drop(columns=["heads", "map", "grid"]).to_csv(snakemake.output.records, index=False)
