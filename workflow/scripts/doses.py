from frankenstein import doses, evidence, logs, plots

logs.redirect(snakemake.log[0])
rates = doses.response(evidence.read(**snakemake.params.evidence), snakemake.params.families)
rates.to_csv(snakemake.output.table, index=False)
plots.save(plots.doses(rates), snakemake.output.pdf, snakemake.output.png)
