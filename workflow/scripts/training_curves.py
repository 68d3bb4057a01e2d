import pandas as pd

from frankenstein import logs, plots

logs.redirect(snakemake.log[0])
history = pd.concat(
    pd.read_csv(path).assign(checkpoint=checkpoint, kind=kind)
    for path, (checkpoint, kind) in zip(snakemake.input.histories, snakemake.params.labels, strict=True)
)
history.to_csv(snakemake.output.table, index=False)
plots.save(plots.training(history), snakemake.output.pdf, snakemake.output.png)
