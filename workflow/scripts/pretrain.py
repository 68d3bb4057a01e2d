import tempfile
from pathlib import Path

import torch

from frankenstein.core import logs
from frankenstein.mini import model, recipe, vision
from frankenstein.models import checkpoints, gpu
from frankenstein.training import sft

logs.redirect(snakemake.log[0])
gpu.claim()
torch.set_num_threads(snakemake.threads)
settings = snakemake.params.settings
directory = Path(snakemake.output.weights).parent
with tempfile.TemporaryDirectory() as untrained:
    model.build(Path(untrained), settings["seed"], settings["model"], snakemake.params.system_prompts)
    vision.pretrain(Path(untrained), settings["seed"], **settings["vision"])
    history = sft.supervised(
        Path(untrained),
        directory,
        recipe.pretraining(settings["seed"], settings["steps"], settings["batch"], settings["curriculum"]),
        steps=settings["steps"],
        batch=settings["batch"],
        learning_rate=settings["learning_rate"],
        seed=settings["seed"],
    )
history.to_csv(snakemake.output.history, index=False)
checkpoints.write_manifest(snakemake.output.manifest, directory, settings)
