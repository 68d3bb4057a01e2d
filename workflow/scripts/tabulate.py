from frankenstein.claims import measurements
from frankenstein.core import logs
from frankenstein.report import tables

logs.redirect(snakemake.log[0])
measured = measurements.read(dict(snakemake.input.items()), **snakemake.params.settings)
tables.make(snakemake.params.table, measured).to_csv(snakemake.output.table, index=False)
