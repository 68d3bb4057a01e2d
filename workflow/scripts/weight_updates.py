import pandas as pd
from safetensors.numpy import save_file

from frankenstein.core import logs
from frankenstein.models import manifests
from frankenstein.updates import matrices, vectors

logs.redirect(snakemake.log[0])
paths = (snakemake.input.base, snakemake.input.instruct, snakemake.input.reinforced)
mine = *map(manifests.directory_of, paths), int(snakemake.wildcards.shard), snakemake.params.shards
records, spectra, subspaces = [], [], {}
for stage, record, sigma, space in matrices.updates(*mine):
    label = {"recipe": snakemake.wildcards.recipe, "stage": stage}
    records.append({**label, **record})
    named = {key: record[key] for key in ("component", "layer", "matrix")}
    values = {"rank": range(1, len(sigma) + 1), "sigma": sigma, "log_ratio": matrices.log_spectrum(sigma)}
    spectra.append(pd.DataFrame({**label, **named, **values}))
    for side in ("left", "right") if space else ():
        key = "/".join(map(str, (stage, *named.values(), record["parameter"], side)))
        subspaces[key] = getattr(space, side).astype("float32")
for stage, record in vectors.updates(*mine):
    records.append({"recipe": snakemake.wildcards.recipe, "stage": stage, **record})
pd.DataFrame(records).to_csv(snakemake.output.records, index=False)
pd.concat(spectra).to_parquet(snakemake.output.spectra, index=False)
save_file(subspaces, snakemake.output.subspaces)
