import itertools

import pandas as pd
from safetensors.numpy import load_file

from frankenstein.core import logs
from frankenstein.updates import matrices

logs.redirect(snakemake.log[0])
spaces = {}
for recipe, path in zip(snakemake.params.recipes, snakemake.input.subspaces, strict=True):
    spaces.setdefault(recipe, {}).update(load_file(path))
records = [
    {"recipe": one, "other": other, **record}
    for one, other in itertools.combinations(spaces, 2)
    for record in matrices.overlaps(spaces[one], spaces[other])
]
pd.DataFrame(records).to_csv(snakemake.output.table, index=False)
