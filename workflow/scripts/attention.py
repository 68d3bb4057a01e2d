from pathlib import Path

import pandas as pd
import torch

from frankenstein.core import jsonl, logs
from frankenstein.data import tasks
from frankenstein.inference import templates
from frankenstein.models import gpu, loading, manifests
from frankenstein.probes import attention

logs.redirect(snakemake.log[0])
gpu.claim()
torch.set_num_threads(snakemake.threads)
path = Path(snakemake.input.examples)
examples = tasks.read_examples(path)[: snakemake.params.examples]
directory, system = manifests.directory_of(snakemake.input.manifest), snakemake.params.system_prompt
template, _ = templates.settle(directory, snakemake.wildcards.checkpoint, system, snakemake.input.prompts)
model, processor = loading.load_model(directory, max_pixels=snakemake.params.max_pixels, template=template)
text = snakemake.input.get("responses")  # another checkpoint's, to be read; else the checkpoint answers
records = list(
    attention.reasoning_to_vision(
        model,
        processor,
        examples[int(snakemake.wildcards.shard) :: snakemake.params.shards],
        path.parent,
        system=system,
        memory_mb=snakemake.params.memory_mb,
        max_new_tokens=snakemake.params.max_new_tokens,
        given={record["id"]: record for _, record in jsonl.read(text)} if text else None,
    )
)
frame = pd.DataFrame(records).drop(columns=["response", "token_ids"])
frame.insert(0, "checkpoint", snakemake.wildcards.checkpoint)
if text:
    frame.insert(1, "text", snakemake.wildcards.text)
frame.drop(columns="heads").to_csv(snakemake.output.records, index=False)
if not text:
    answers = {
        record["id"]: {key: record[key] for key in ("id", "response", "token_ids", "error")} for record in records
    }
    Path(snakemake.output.responses).write_text("".join(map(jsonl.line, answers.values())), encoding="utf-8")
    heads = frame[["checkpoint", "id", "layer", "heads"]].explode("heads").rename(columns={"heads": "attention_mass"})
    heads.insert(3, "head", heads.groupby(["id", "layer"]).cumcount())
    heads.to_csv(snakemake.output.heads, index=False)
