import pandas as pd

from frankenstein.claims import scoring
from frankenstein.core import logs
from frankenstein.data import tasks

logs.redirect(snakemake.log[0])


def read(paths):
    tables = [pd.read_csv(path, keep_default_na=False, dtype={"id": str}) for path in paths]
    return dict(zip(snakemake.params.roles, tables, strict=True))


examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
made = scoring.score(
    read(snakemake.input.grades),
    snakemake.params.roles,
    snakemake.params.abilities,
    examples,
    snakemake.params.seed,
    read(snakemake.input.judged) if snakemake.input.get("judged") else None,
)
for name, path in snakemake.output.items():
    if path:
        made[name].to_csv(path, index=False)
