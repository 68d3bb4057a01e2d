# Section 3.1: which layers see and which reason, by vision-token swapping and layer skipping on the Base.


rule swap_vision_tokens:
    input:
        manifest=paths.manifest,
        pairs=paths.pairs,
        images=paths.pair_images,
    output:
        records=paths.swap_records,
    log:
        f"{LOG}/swap_vision_tokens/{{checkpoint}}.{{function}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/swap_vision_tokens/{{checkpoint}}.{{function}}.{{shard}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=study.probes.gpus,
        mem_mb=per_attempt(costs.probe_mb),
        runtime=per_attempt(costs.swap_minutes),
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        modes=study.probes.modes,
        unequal=study.probes.unequal_images,
        shards=study.probes.shards,
        memory_mb=study.probes.memory_mb,
        max_new_tokens=study.probes.max_new_tokens,
        store=f"{on_disk.results}/answers/swap.{{checkpoint}}.{{function}}/{{shard}}.jsonl",
        code=code("swap_vision_tokens.py"),
        family=family,
    script:
        "../workflow/scripts/swap_vision_tokens.py"


rule skip_layers:
    input:
        manifest=paths.manifest,
        examples=expand(paths.examples, task=study.skip_tasks()),
    output:
        records=paths.skip_records,
    log:
        f"{LOG}/skip_layers/{{checkpoint}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/skip_layers/{{checkpoint}}.{{shard}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=study.probes.gpus,
        mem_mb=per_attempt(costs.probe_mb),
        runtime=per_attempt(costs.skip_minutes),
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        examples=study.probes.skip_examples,
        shards=study.probes.shards,
        memory_mb=study.probes.memory_mb,
        max_new_tokens=study.probes.max_new_tokens,
        store=f"{on_disk.results}/answers/skip.{{checkpoint}}/{{shard}}.jsonl",
        code=code("skip_layers.py"),
        family=family,
    script:
        "../workflow/scripts/skip_layers.py"


rule judge_swaps:
    input:
        records=expand(
            paths.swap_records,
            function=study.probes.functions,
            shard=range(study.probes.shards),
            allow_missing=True,
        ),
        pairs=expand(paths.pairs, function=study.probes.functions),
    output:
        table=paths.swaps,
    log:
        f"{LOG}/judge_swaps/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/judge_swaps/{{checkpoint}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("judge_swaps.py"),
    script:
        "../workflow/scripts/judge_swaps.py"


rule judge_skips:
    input:
        records=expand(
            paths.skip_records, shard=range(study.probes.shards), allow_missing=True
        ),
        examples=expand(paths.examples, task=study.skip_tasks()),
    output:
        table=paths.skips,
    log:
        f"{LOG}/judge_skips/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/judge_skips/{{checkpoint}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("judge_skips.py"),
    script:
        "../workflow/scripts/judge_skips.py"
