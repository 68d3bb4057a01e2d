import pandas as pd

from frankenstein import checkpoints, logs, updates

logs.redirect(snakemake.log[0])
records, spectra = [], []
before, after = (checkpoints.directory_of(path) for path in (snakemake.input.before, snakemake.input.after))
for record, sigma in updates.updates(before, after):
    label = {"recipe": snakemake.wildcards.recipe, "stage": snakemake.wildcards.stage.upper()}
    records.append({**label, **record})
    spectra.append(
        pd.DataFrame(
            {
                **label,
                "layer": record["layer"],
                "matrix": record["matrix"],
                "rank": range(1, len(sigma) + 1),
                "sigma": sigma,
            }
        )
    )
pd.DataFrame(records).to_csv(snakemake.output.records, index=False)
pd.concat(spectra).to_parquet(snakemake.output.spectra, index=False)
