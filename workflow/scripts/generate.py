import torch

from frankenstein.core import logs
from frankenstein.inference import cache, engines, evaluation, templates
from frankenstein.models import gpu, manifests

logs.redirect(snakemake.log[0])
gpu.claim(snakemake.resources.gpu)
torch.set_num_threads(snakemake.threads)
params, checkpoint = snakemake.params, snakemake.wildcards.checkpoint
asked = evaluation.asked(snakemake.input, params, int(snakemake.wildcards.shard))
directory = manifests.directory_of(snakemake.input.manifest)
template, prompt = templates.settle(directory, checkpoint, params.system_prompt, snakemake.input.prompts)
if params.server:
    engine = engines.Endpoint(**params.server, max_new_tokens=params.max_new_tokens)
else:
    engine = engines.LOCAL[params.engine](directory, params.max_new_tokens, params.max_pixels, template)
header = {"checkpoint": checkpoint, "model": cache.model_digest(snakemake.input.manifest), "prompt": prompt}
evaluation.answer(snakemake.output.responses, asked, engine, header, params, params.store)
