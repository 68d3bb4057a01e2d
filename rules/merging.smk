# Section 3.3: the six hybrids of IN and RL, each a checkpoint like any other.


rule merge:
    input:
        instruct=lambda wildcards: manifest(study.recipes[wildcards.recipe].instruct),
        reinforced=lambda wildcards: manifest(study.recipes[wildcards.recipe].rl),
    output:
        manifest=MANIFEST.format(checkpoint="{recipe}.{donors}"),
        account=f"{RESULTS}/checkpoints/{{recipe}}.{{donors}}/merge_manifest.json",
        weights=WEIGHTS.format(checkpoint="{recipe}.{donors}"),
    log:
        f"{LOG}/merge/{{recipe}}.{{donors}}.log",
    benchmark:
        f"{BENCHMARK}/merge/{{recipe}}.{{donors}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        cuts=study.regions.cuts,
        rest_from=study.rest_from,
        code=code("merge.py"),
    script:
        "../workflow/scripts/merge.py"
