from functools import partial

import torch

from frankenstein.core import logs
from frankenstein.inference import engines, evaluation, templates
from frankenstein.merging import memory
from frankenstein.merging.plan import plan
from frankenstein.models import gpu, manifests

logs.redirect(snakemake.log[0])
gpu.claim()
torch.set_num_threads(snakemake.threads)
params, recipe = snakemake.params, snakemake.wildcards.recipe
asked = evaluation.asked(snakemake.input, params, int(snakemake.wildcards.shard))
donors = {label: snakemake.input[f"donor.{label}"] for label in params.donors}
parents = {label: manifests.directory_of(manifest) for label, manifest in donors.items()}
for out, (hybrid, (spec, cuts)) in zip(snakemake.output, params.specs.items(), strict=True):
    checkpoint = f"{recipe}.{hybrid}"
    print(checkpoint, flush=True)
    made = plan(parents, spec, cuts, params.rest_from)
    directory = parents[made.config_from]
    template, prompt = templates.settle(directory, checkpoint, params.system_prompt, snakemake.input.prompts)
    weights = partial(memory.state_dict, made)
    engine = engines.Transformers(directory, params.max_new_tokens, params.max_pixels, template, weights)
    header = {"checkpoint": checkpoint, "model": memory.model_digest(made, donors), "prompt": prompt}
    evaluation.answer(out, asked, engine, header, params, params.store[hybrid])
