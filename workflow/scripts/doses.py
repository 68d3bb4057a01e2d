from frankenstein import doses, evidence, logs, plots

logs.redirect(snakemake.log[0])
found = evidence.read(**snakemake.params.evidence)
rates = doses.response(found, snakemake.params.recipes, snakemake.params.families)
rates.to_csv(snakemake.output.table, index=False)
plots.save(plots.doses(rates), snakemake.output.pdf, snakemake.output.png)
