from pathlib import Path

from frankenstein.core import logs
from frankenstein.core.regions import Regions
from frankenstein.inference import templates
from frankenstein.models import checkpoints, gpu, manifests
from frankenstein.training import prompt_files

logs.redirect(snakemake.log[0])
gpu.claim(snakemake.resources.gpu)
settings = snakemake.params.settings
start = manifests.directory_of(snakemake.input.start)
directory = Path(snakemake.output.model)
frozen = range(0)
if settings["frozen"]:
    frozen = Regions.of_manifest(snakemake.input.start, snakemake.params.cuts).range(settings["frozen"])
same = (
    "steps",
    "prompts_per_step",
    "num_generations",
    "max_new_tokens",
    "learning_rate",
    "temperature",
    "beta",
    "rewards",
    "seed",
)
history = prompt_files.launched(
    {
        **{key: settings[key] for key in (*same, "micro_batch", "bf16", "vllm_gpu_memory_utilization")},
        "save_steps": snakemake.resources.save_steps or None,
        "report_to": snakemake.resources.report_to,
        "start": str(start),
        "out": str(directory),
        "prompt_file": snakemake.input.prompt_file,
        "system": snakemake.params.system_prompt,
        "frozen": [frozen.start, frozen.stop],
        "components": settings["frozen_components"],
        "scratch": snakemake.params.state,
        "template": templates.named(snakemake.input.get("prompt")),
    },
    settings["accelerate"],
)
history.to_csv(snakemake.output.history, index=False)
checkpoints.write_manifest(snakemake.output.manifest, directory, settings)
