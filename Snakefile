# What does RL improve for visual reasoning?  Base -> IN (supervised) -> RL, taken apart.
# Each include is a chapter of the paper (arXiv 2602.12395); each rule calls the script of its name.
from snakemake.utils import min_version

min_version("9.27")


# A study's file is whole: one given with --configfile replaces the mini study, and is not merged into it.
if "checkpoints" not in config:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/checkpoints.smk"
include: "rules/datasets.smk"
include: "rules/training.smk"
include: "rules/localization.smk"
include: "rules/attention.smk"
include: "rules/updates.smk"
include: "rules/merging.smk"
include: "rules/evaluation.smk"
include: "rules/reporting.smk"


rule all:
    default_target: True
    input:
        paths.report,
        expand(paths.figure, figure=FIGURES, kind=["pdf", "png"]),
        expand(paths.table, table=TABLES),
