from pathlib import Path

from frankenstein.claims import claims, measurements, reference
from frankenstein.core import logs
from frankenstein.report import figures

logs.redirect(snakemake.log[0])
stated = claims.read([Path(path) for path in snakemake.input.claims])
tested = claims.statements(stated, measurements.read(**snakemake.params.evidence))
tested.to_csv(snakemake.output.table, index=False)
claims.verdicts(stated, tested).to_csv(snakemake.output.verdicts, index=False)
claims.replicates(tested).to_csv(snakemake.output.replicates, index=False)
claims.of_paper(stated, reference.read(snakemake.input.reference)).to_csv(snakemake.output.paper, index=False)
figures.save(figures.claims(tested), snakemake.output.pdf, snakemake.output.png)
