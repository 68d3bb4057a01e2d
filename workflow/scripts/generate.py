from pathlib import Path

import torch

from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.inference import cache, descriptions, engines, prompts, respond, responses, templates
from frankenstein.models import gpu, manifests

logs.redirect(snakemake.log[0])
gpu.claim()
torch.set_num_threads(snakemake.threads)
params, shard = snakemake.params, int(snakemake.wildcards.shard)
files = {name: Path(path) for name, path in snakemake.input.items() if name.startswith(("examples.", "descriptions."))}
folder = files[f"examples.{params.tasks[0]}"].parent
examples = {task: tasks.read_examples(files[f"examples.{task}"]) for task in params.tasks}
asked = {task: tasks.fingerprint(part) for task, part in examples.items()}
for task in params.described:
    examples[task] = descriptions.described(examples[task], files[f"descriptions.{task}"])
for task in params.shuffled:  # before sharding: the other image may belong to another shard
    examples[task] = prompts.with_other_images(examples[task], folder, params.seed)
requests = [
    (example, condition)
    for task, part in examples.items()
    for example in part[shard :: params.shards]
    for condition in params.conditions[task]
]
directory = manifests.directory_of(snakemake.input.manifest)
template, prompt = templates.settle(
    directory, snakemake.wildcards.checkpoint, params.system_prompt, snakemake.input.prompts
)
engine = engines.LOCAL[params.engine](directory, params.max_new_tokens, params.max_pixels, template)
settings = {
    "checkpoint": snakemake.wildcards.checkpoint,
    "model": cache.model_digest(snakemake.input.manifest),
    "engine": engine.version,
    "prompt": prompt,
    **{key: params.get(key) for key in ("system_prompt", "max_new_tokens", "max_pixels")},
    "prompts": prompts.code(),
}
store = cache.ResponseCache(Path(params.store), settings)
records = respond.respond(engine, requests, folder, params.system_prompt, params.batch, store)
responses.write(snakemake.output.responses, settings | {"examples": asked}, records)
