from frankenstein import controls, evidence, logs, plots

logs.redirect(snakemake.log[0])
found = evidence.read(**snakemake.params.evidence)
windows = controls.windows(found)
windows.to_csv(snakemake.output.table, index=False)
plots.save(plots.controls(windows, found.regions), snakemake.output.pdf, snakemake.output.png)
