# Existing Base, IN and RL checkpoints, local or fetched into the Hub cache: checked for completeness, then recorded in a
# manifest. Nothing is copied.


rule adopt_checkpoint:
    input:
        # The current files, so that a checkpoint retrained in place is detected.
        files=lambda wildcards: jobs.given_files(wildcards.checkpoint),
    output:
        manifest=paths.manifest,
    log:
        f"{LOG}/adopt_checkpoint/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/adopt_checkpoint/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(study.sources("given")),
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=per_attempt(costs.copy_minutes),
    params:
        source=lambda wildcards: jobs.settings_of(wildcards.checkpoint),
        code=code("adopt_checkpoint.py"),
    script:
        "../workflow/scripts/adopt_checkpoint.py"


rule fetch_checkpoint:
    output:
        manifest=paths.manifest,
        account=paths.fetched,
    log:
        f"{LOG}/fetch_checkpoint/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/fetch_checkpoint/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(study.sources("hub")),
    retries: 3
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=per_attempt(costs.fetch_minutes),
    params:
        source=lambda wildcards: jobs.settings_of(wildcards.checkpoint),
        code=code("fetch_checkpoint.py"),
    script:
        "../workflow/scripts/fetch_checkpoint.py"


rule cut_regions:
    input:
        manifest=jobs.depth(),
    output:
        regions=paths.regions,
    log:
        f"{LOG}/cut_regions.log",
    benchmark:
        f"{BENCHMARK}/cut_regions.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        cuts=study.regions.cuts,
        code=code("cut_regions.py"),
    script:
        "../workflow/scripts/cut_regions.py"
