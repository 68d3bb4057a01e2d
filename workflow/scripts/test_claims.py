from pathlib import Path

from frankenstein.claims import measurements, paper, sensitivity, statements, verdicts
from frankenstein.core import logs
from frankenstein.report import drawing
from frankenstein.report.figures import claims as chart

logs.redirect(snakemake.log[0])
stated = statements.read([Path(path) for path in snakemake.input.claims])
measured = measurements.read(dict(snakemake.input.items()), **snakemake.params.settings)
tested, in_runs = chart.tables(measured, stated)
tested.to_csv(snakemake.output.table, index=False)
in_runs.to_csv(snakemake.output.runs, index=False)
sensitivity.sensitivity(stated, measured, snakemake.params.also).to_csv(snakemake.output.sensitivity, index=False)
verdicts.summarize_claims(stated, tested).to_csv(snakemake.output.verdicts, index=False)
paper.of_paper(stated, measured.reference).to_csv(snakemake.output.paper, index=False)
drawing.save(chart.draw(tested, in_runs), snakemake.output.pdf, snakemake.output.png)
