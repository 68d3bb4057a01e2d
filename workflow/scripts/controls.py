from frankenstein.claims import controls, measurements
from frankenstein.core import logs
from frankenstein.report import figures

logs.redirect(snakemake.log[0])
found = measurements.read(**snakemake.params.evidence)
windows = controls.windows(found)
windows.to_csv(snakemake.output.table, index=False)
figures.save(figures.controls(windows, found.regions), snakemake.output.pdf, snakemake.output.png)
