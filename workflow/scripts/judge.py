from pathlib import Path

import pandas as pd

from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.grading import judge
from frankenstein.inference import cache, engines, prompts, responses
from frankenstein.models import gpu

logs.redirect(snakemake.log[0])
gpu.claim(snakemake.resources.gpu)
examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
engine, settings = engines.helper(snakemake.params.by, snakemake.input.get("manifest"), snakemake.params.engine)
store = cache.ResponseCache(Path(snakemake.params.store), settings | {"prompts": prompts.code()})
judged = judge.judge(
    engine,
    pd.read_csv(snakemake.input.grades, keep_default_na=False, dtype={"id": str}),
    responses.read_all(snakemake.input.responses, snakemake.wildcards.checkpoint, examples),
    examples,
    store,
    snakemake.params.batch,
)
judged.to_csv(snakemake.output.judged, index=False)
