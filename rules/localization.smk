# Section 3.1: which layers see, which reason. Vision-token swapping and layer skipping on the Base.

SWAPS = f"{RESULTS}/localization/swap.{{checkpoint}}.{{function}}.jsonl"
SKIPS = f"{RESULTS}/localization/skip.{{checkpoint}}.jsonl"


rule swap_vision_tokens:
    input:
        manifest=MANIFEST,
        pairs=PAIRS,
        images=f"{RESULTS}/pairs/{{function}}",
    output:
        records=SWAPS,
    log:
        f"{LOG}/swap_vision_tokens/{{checkpoint}}.{{function}}.log",
    benchmark:
        f"{BENCHMARK}/swap_vision_tokens/{{checkpoint}}.{{function}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        batch=study.probes.batch,
        max_new_tokens=study.probes.max_new_tokens,
        code=code("swap_vision_tokens.py"),
    script:
        "../workflow/scripts/swap_vision_tokens.py"


rule skip_layers:
    input:
        manifest=MANIFEST,
        examples=EXAMPLES.format(task=study.abilities.reasoning),
    output:
        records=SKIPS,
    log:
        f"{LOG}/skip_layers/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/skip_layers/{{checkpoint}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        examples=study.probes.skip_examples,
        batch=study.probes.batch,
        max_new_tokens=study.probes.max_new_tokens,
        code=code("skip_layers.py"),
    script:
        "../workflow/scripts/skip_layers.py"
