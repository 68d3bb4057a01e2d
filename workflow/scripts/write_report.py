from frankenstein import logs, report

logs.redirect(snakemake.log[0])
report.write(snakemake.output.page, **snakemake.params.report)
