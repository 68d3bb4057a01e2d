from pathlib import Path

from frankenstein.claims import claims, measurements, paper, statements
from frankenstein.core import logs
from frankenstein.report import drawing
from frankenstein.report.figures import claims as chart

logs.redirect(snakemake.log[0])
stated = statements.read([Path(path) for path in snakemake.input.claims])
measured = measurements.read(dict(snakemake.input.items()), **snakemake.params.settings)
tested = chart.data(measured, stated)
tested.to_csv(snakemake.output.table, index=False)
claims.summarize_claims(stated, tested).to_csv(snakemake.output.verdicts, index=False)
claims.replicates(tested).to_csv(snakemake.output.replicates, index=False)
paper.of_paper(stated, measured.reference).to_csv(snakemake.output.paper, index=False)
drawing.save(chart.draw(tested, measured), snakemake.output.pdf, snakemake.output.png)
