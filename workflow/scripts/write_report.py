from frankenstein.core import logs
from frankenstein.report import page

logs.redirect(snakemake.log[0])
page.write(snakemake.output.page, files=dict(snakemake.input.items()), **snakemake.params.report)
