from pathlib import Path

import pandas as pd
import torch

from frankenstein import attention, checkpoints, devices, logs, tasks, templates

logs.redirect(snakemake.log[0])
devices.claim()
torch.set_num_threads(snakemake.threads)
path = Path(snakemake.input.examples)
examples = tasks.read_examples(path)[: snakemake.params.examples]
directory, system = checkpoints.directory_of(snakemake.input.manifest), snakemake.params.system_prompt
template, _ = templates.settle(directory, snakemake.wildcards.checkpoint, system, snakemake.input.prompts)
model, processor = checkpoints.load_model(directory, max_pixels=snakemake.params.max_pixels, template=template)
records = attention.reasoning_to_vision(
    model,
    processor,
    examples[int(snakemake.wildcards.shard) :: snakemake.params.shards],
    path.parent,
    system=system,
    memory_mb=snakemake.params.memory_mb,
    max_new_tokens=snakemake.params.max_new_tokens,
)
frame = pd.DataFrame(records)
frame.insert(0, "checkpoint", snakemake.wildcards.checkpoint)
frame.drop(columns="heads").to_csv(snakemake.output.records, index=False)
heads = frame[["checkpoint", "id", "layer", "heads"]].explode("heads").rename(columns={"heads": "attention_mass"})
heads.insert(3, "head", heads.groupby(["id", "layer"]).cumcount())
heads.to_csv(snakemake.output.heads, index=False)
