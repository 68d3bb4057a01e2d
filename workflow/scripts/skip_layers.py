import pandas as pd
import torch

from frankenstein import checkpoints, interventions, logs, tasks

logs.redirect(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
model, processor = checkpoints.load_model(checkpoints.directory_of(snakemake.input.manifest))
records = interventions.skip_sweep(
    model,
    processor,
    tasks.read_examples(snakemake.input.examples)[: snakemake.params.examples],
    system=snakemake.params.system_prompt,
    batch=snakemake.params.batch,
    max_new_tokens=snakemake.params.max_new_tokens,
)
frame = pd.DataFrame(records)
frame.insert(0, "checkpoint", snakemake.wildcards.checkpoint)
frame.to_json(snakemake.output.records, orient="records", lines=True)
