from pathlib import Path

import pandas as pd
import torch

from frankenstein import checkpoints, interventions, logs, tasks

logs.redirect(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
pairs = Path(snakemake.input.pairs)
model, processor = checkpoints.load_model(checkpoints.directory_of(snakemake.input.manifest))
records = interventions.swap_sweep(
    model,
    processor,
    tasks.read_pairs(pairs),
    pairs.parent,
    system=snakemake.params.system_prompt,
    batch=snakemake.params.batch,
    max_new_tokens=snakemake.params.max_new_tokens,
)
frame = pd.DataFrame(records)
frame.insert(0, "checkpoint", snakemake.wildcards.checkpoint)
frame.to_json(snakemake.output.records, orient="records", lines=True)
