from frankenstein import checkpoints, logs, templates

logs.redirect(snakemake.log[0])
params = snakemake.params
templates.write(
    snakemake.output.prompt,
    checkpoints.directory_of(snakemake.input.manifest),
    snakemake.wildcards.recipe,
    params.template_from,
    params.system_prompt,
    params.settled,
)
