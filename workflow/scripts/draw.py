from importlib import import_module

from frankenstein.claims import measurements
from frankenstein.core import logs
from frankenstein.report import drawing

logs.redirect(snakemake.log[0])
figure = import_module(f"frankenstein.report.figures.{snakemake.params.figure}")
measured = measurements.read(dict(snakemake.input.items()), **snakemake.params.settings)
table = figure.data(measured)
table.to_csv(snakemake.output.table, index=False)
drawing.save(figure.draw(table, measured), snakemake.output.pdf, snakemake.output.png)
