from pathlib import Path

import torch

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.inference import templates
from frankenstein.mini import recipe
from frankenstein.models import checkpoints, gpu, manifests
from frankenstein.training import grpo

logs.redirect(snakemake.log[0])
gpu.claim()
torch.set_num_threads(snakemake.threads)
settings = snakemake.params.settings
start = manifests.directory_of(snakemake.input.start)
directory = Path(snakemake.output.weights).parent
frozen = range(0)
if settings["frozen"]:
    frozen = Regions.of_manifest(snakemake.input.start, snakemake.params.cuts).range(settings["frozen"])
same = ("steps", "prompts_per_step", "num_generations", "max_new_tokens", "learning_rate", "temperature", "beta")
history = grpo.grpo(
    start,
    directory,
    recipe.reinforcement(
        settings["seed"],
        (settings["steps"] + 2) * settings["prompts_per_step"],
        settings["questions"],
        snakemake.params.system_prompt,
    ),
    **{key: settings[key] for key in (*same, "rewards", "seed")},
    frozen=frozen,
    save_steps=snakemake.resources.save_steps or None,
    report_to=snakemake.resources.report_to,
    scratch=Path(snakemake.params.state),
    template=templates.named(snakemake.input.get("prompt")),
)
history.to_csv(snakemake.output.history, index=False)
checkpoints.write_manifest(snakemake.output.manifest, directory, settings)
