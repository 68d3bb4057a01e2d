from pathlib import Path

import pandas as pd

from frankenstein import devices, engines, logs, responses, tasks
from frankenstein.grading import judge

logs.redirect(snakemake.log[0])
if snakemake.resources.gpu:
    devices.claim()
examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
ask, settings = engines.helper(snakemake.params.by, snakemake.input.get("manifest"), snakemake.params.engine)
store = responses.Store(Path(snakemake.params.store), settings | {"code": snakemake.params.code})
judged = judge.judge(
    ask,
    pd.read_csv(snakemake.input.grades, keep_default_na=False, dtype={"id": str}),
    responses.read_all(snakemake.input.responses, snakemake.wildcards.checkpoint, examples),
    examples,
    store,
    snakemake.params.batch,
)
judged.to_csv(snakemake.output.judged, index=False)
