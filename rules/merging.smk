# Section 3.3: the paper's six hybrids of IN and RL and the study's own, each an ordinary checkpoint.


rule shard_for_links:
    input:
        manifest=paths.manifest,
    output:
        shards=kept(directory(paths.shards)),
    log:
        f"{LOG}/shard_for_links/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/shard_for_links/{{checkpoint}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=500,
        runtime=per_attempt(costs.copy_minutes),
        disk_mb=lambda wildcards: costs.weights_mb(study, wildcards.checkpoint),
    params:
        code=code("shard_for_links.py"),
        family=family,
    script:
        "../workflow/scripts/shard_for_links.py"


rule merge:
    input:
        unpack(lambda wildcards: jobs.donors(wildcards.recipe, wildcards.hybrid)),
        unpack(lambda wildcards: jobs.donor_shards(wildcards.recipe, wildcards.hybrid)),
    output:
        manifest=kept(paths.manifest.format(checkpoint="{recipe}.{hybrid}")),
        model=kept(directory(paths.model.format(checkpoint="{recipe}.{hybrid}"))),
    log:
        f"{LOG}/merge/{{recipe}}.{{hybrid}}.log",
    benchmark:
        f"{BENCHMARK}/merge/{{recipe}}.{{hybrid}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=lambda wildcards, attempt: (
            attempt
            * costs.copy_minutes(study, f"{wildcards.recipe}.{wildcards.hybrid}")
        ),
        # Disk space of a hybrid: next to nothing if linked.
        disk_mb=lambda wildcards: (
            costs.weights_mb(study, f"{wildcards.recipe}.{wildcards.hybrid}")
            if study.merging.layout == "copy"
            else 1
        ),
    params:
        spec=lambda wildcards: study.assignment(wildcards.hybrid),
        donors=lambda wildcards: study.donors(wildcards.hybrid),
        rest_from=study.merging.rest_from,
        layout=study.merging.layout,
        code=code("merge.py"),
        family=family,
    script:
        "../workflow/scripts/merge.py"
