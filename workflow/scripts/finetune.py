from pathlib import Path

import torch

from frankenstein.core import logs
from frankenstein.inference import templates
from frankenstein.mini import recipe
from frankenstein.models import checkpoints, gpu, manifests
from frankenstein.training import sft

logs.redirect(snakemake.log[0])
gpu.claim()
torch.set_num_threads(snakemake.threads)
settings = snakemake.params.settings
directory = Path(snakemake.output.weights).parent
samples = recipe.instruction(
    settings["seed"],
    settings["steps"],
    settings["batch"],
    settings["questions"],
    settings["slips"],
    snakemake.params.system_prompt,
)
history = sft.supervised(
    manifests.directory_of(snakemake.input.start),
    directory,
    samples,
    steps=settings["steps"],
    batch=settings["batch"],
    learning_rate=settings["learning_rate"],
    seed=settings["seed"],
    template=templates.named(snakemake.input.get("prompt")),
)
history.to_csv(snakemake.output.history, index=False)
checkpoints.write_manifest(snakemake.output.manifest, directory, settings)
