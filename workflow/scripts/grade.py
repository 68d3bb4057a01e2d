from pathlib import Path

from frankenstein.core import logs
from frankenstein.data import tasks
from frankenstein.grading import verdicts

logs.redirect(snakemake.log[0])
examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
for checkpoint, out in zip(snakemake.params.checkpoints, snakemake.output, strict=True):
    responses = [path for path in snakemake.input.responses if Path(path).name.startswith(f"{checkpoint}.")]
    verdicts.grade_all(responses, checkpoint, examples, snakemake.threads).to_csv(out, index=False)
