from frankenstein.claims import interpolation, measurements
from frankenstein.core import logs
from frankenstein.report import figures

logs.redirect(snakemake.log[0])
found = measurements.read(**snakemake.params.evidence)
rates = interpolation.response(found, snakemake.params.recipes, snakemake.params.families)
rates.to_csv(snakemake.output.table, index=False)
figures.save(figures.doses(rates), snakemake.output.pdf, snakemake.output.png)
