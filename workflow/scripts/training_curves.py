import pandas as pd

from frankenstein.core import logs
from frankenstein.report import figures

logs.redirect(snakemake.log[0])
history = pd.concat(
    pd.read_csv(path).assign(checkpoint=checkpoint, kind=kind)
    for path, (checkpoint, kind) in zip(snakemake.input.histories, snakemake.params.labels, strict=True)
)
history.to_csv(snakemake.output.table, index=False)
figures.save(figures.training(history), snakemake.output.pdf, snakemake.output.png)
