from pathlib import Path

import pandas as pd
import torch

from frankenstein import attention, checkpoints, logs, tasks

logs.redirect(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
examples = Path(snakemake.input.examples)
model, processor = checkpoints.load_model(checkpoints.directory_of(snakemake.input.manifest), attention="eager")
records = attention.reasoning_to_vision(
    model,
    processor,
    tasks.read_examples(examples)[: snakemake.params.examples],
    examples.parent,
    system=snakemake.params.system_prompt,
    batch=snakemake.params.batch,
    max_new_tokens=snakemake.params.max_new_tokens,
)
frame = pd.DataFrame(records)
frame.insert(0, "checkpoint", snakemake.wildcards.checkpoint)
frame.to_csv(snakemake.output.records, index=False)
