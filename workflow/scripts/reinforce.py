from pathlib import Path

import torch

from frankenstein import anatomy, checkpoints, logs, reinforcement
from frankenstein.mini import recipe
from frankenstein.regions import Regions

logs.redirect(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
settings = snakemake.params.settings
start = checkpoints.directory_of(snakemake.input.start)
directory = Path(snakemake.output.weights).parent
regions = Regions(tuple(snakemake.params.cuts), anatomy.layer_count(start))
history = reinforcement.grpo(
    start,
    directory,
    recipe.reinforcement(
        settings["seed"],
        (settings["steps"] + 2) * settings["prompts"],
        settings["questions"],
        snakemake.params.system_prompt,
    ),
    steps=settings["steps"],
    prompts=settings["prompts"],
    generations=settings["generations"],
    max_new_tokens=settings["max_new_tokens"],
    learning_rate=settings["learning_rate"],
    rewards=settings["rewards"],
    seed=settings["seed"],
    frozen=regions.range(settings["frozen"]) if settings["frozen"] else range(0),
    temperature=settings["temperature"],
    beta=settings["beta"],
)
history.to_csv(snakemake.output.history, index=False)
checkpoints.write_manifest(snakemake.output.manifest, directory, settings)
