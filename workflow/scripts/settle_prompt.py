from frankenstein.core import logs
from frankenstein.inference import templates
from frankenstein.models import manifests

logs.redirect(snakemake.log[0])
params = snakemake.params
templates.write(
    snakemake.output.prompt,
    manifests.directory_of(snakemake.input.manifest),
    snakemake.wildcards.recipe,
    params.template_from,
    params.system_prompt,
    params.settled,
)
