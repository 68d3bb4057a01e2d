import torch

from frankenstein.core import logs
from frankenstein.inference import engines, evaluation, templates
from frankenstein.merging.memory import Hybrid
from frankenstein.models import gpu, manifests

logs.redirect(snakemake.log[0])
gpu.claim(snakemake.resources.gpu)
torch.set_num_threads(snakemake.threads)
params, recipe = snakemake.params, snakemake.wildcards.recipe
asked = evaluation.asked(snakemake.input, params, int(snakemake.wildcards.shard))
donors = {label: snakemake.input[f"donor.{label}"] for label in params.donors}
parents = {label: str(manifests.directory_of(manifest)) for label, manifest in donors.items()}
engine = None
for out, (name, (spec, cuts)) in zip(snakemake.output, params.specs.items(), strict=True):
    checkpoint, hybrid = f"{recipe}.{name}", Hybrid(parents, spec, cuts, params.rest_from)
    print(checkpoint, flush=True)
    template, prompt = templates.settle(hybrid.directory, checkpoint, params.system_prompt, snakemake.input.prompts)
    engine = engine or engines.LOCAL[params.engine](hybrid.directory, params.max_new_tokens, params.max_pixels)
    engine.turn_to(hybrid.directory, template, hybrid)
    header = {"checkpoint": checkpoint, "model": hybrid.model_digest(donors), "prompt": prompt}
    evaluation.answer(out, asked, engine, header, params, params.store[name])
