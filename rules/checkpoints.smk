# Base, IN and RL that are there already: checked whole, then named by a manifest. Nothing is copied.


rule adopt_checkpoint:
    output:
        manifest=MANIFEST,
    wildcard_constraints:
        checkpoint=one_of(study.sources("given")),
    params:
        source=source,
        code=code("adopt_checkpoint.py"),
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        LOG + "adopt_checkpoint/{checkpoint}.log",
    benchmark:
        BENCHMARK + "adopt_checkpoint/{checkpoint}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/adopt_checkpoint.py"
