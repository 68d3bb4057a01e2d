import pandas as pd

from frankenstein import logs, scoring, tasks

logs.redirect(snakemake.log[0])
grades = {
    checkpoint: pd.read_csv(path, keep_default_na=False)
    for checkpoint, path in zip(snakemake.params.roles, snakemake.input.grades, strict=True)
}
examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
scores, differences = scoring.score(
    grades, snakemake.params.roles, snakemake.params.abilities, examples, snakemake.params.seed
)
scores.to_csv(snakemake.output.scores, index=False)
differences.to_csv(snakemake.output.differences, index=False)
