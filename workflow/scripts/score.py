import pandas as pd

from frankenstein.claims import scoring
from frankenstein.core import logs
from frankenstein.data import tasks

logs.redirect(snakemake.log[0])
files = dict(snakemake.input.items())


def read(kind):
    """checkpoint -> its verdicts, from the rules ("grades") or the judge ("judged")."""
    return {
        name.removeprefix(f"{kind}."): pd.read_csv(path, keep_default_na=False, dtype={"id": str})
        for name, path in files.items()
        if name.startswith(f"{kind}.")
    }


examples = [example for path in snakemake.input.examples for example in tasks.read_examples(path)]
made = scoring.score(
    read("grades"),
    snakemake.params.roles,
    snakemake.params.runs,
    snakemake.params.abilities,
    examples,
    read("judged") or None,
)
for name, path in snakemake.output.items():
    if path:
        made[name].to_csv(path, index=False)
