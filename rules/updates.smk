# Section 3.2: energy and diversity of the IN update (IN - Base) and of the RL update (RL - IN).

UPDATES = RESULTS + "/updates/{recipe}.{stage}.csv"
SPECTRA = RESULTS + "/updates/{recipe}.{stage}.spectra.parquet"


def before_and_after(wildcards):
    recipe = study.recipes[wildcards.recipe]
    pair = {"in": (recipe.base, recipe.instruct), "rl": (recipe.instruct, recipe.rl)}[wildcards.stage]
    return {"before": manifest(pair[0]), "after": manifest(pair[1])}


rule weight_updates:
    input:
        unpack(before_and_after),
    output:
        records=UPDATES,
        spectra=SPECTRA,
    params:
        code=code("weight_updates.py"),
    resources:
        mem_mb=4000,
        runtime=240,
    log:
        LOG + "weight_updates/{recipe}.{stage}.log",
    benchmark:
        BENCHMARK + "weight_updates/{recipe}.{stage}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/weight_updates.py"
