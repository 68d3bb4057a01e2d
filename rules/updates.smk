# Section 3.2: energy, diversity and geometry of the IN update (IN - Base) and of the RL update (RL - IN).


rule weight_updates:
    input:
        unpack(lambda wildcards: jobs.stages(wildcards.recipe)),
    output:
        records=paths.updates,
        spectra=paths.spectra,
        subspaces=paths.subspaces,
    log:
        f"{LOG}/weight_updates/{{recipe}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/weight_updates/{{recipe}}.{{shard}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 2000,  # one matrix at a time, whatever the model
        runtime=lambda wildcards, attempt: (
            attempt * costs.update_minutes(study, wildcards.recipe)
        ),
    params:
        shards=study.updates.shards,
        code=code("weight_updates.py"),
        family=family,
    script:
        "../workflow/scripts/weight_updates.py"
