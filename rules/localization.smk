# Section 3.1: which layers see, which reason. Vision-token swapping and layer skipping on the Base.

SWAPS = RESULTS + "/localization/swap.{checkpoint}.{function}.jsonl"
SKIPS = RESULTS + "/localization/skip.{checkpoint}.jsonl"


rule swap_vision_tokens:
    input:
        manifest=MANIFEST,
        pairs=PAIRS,
        images=RESULTS + "/pairs/{function}",
    output:
        records=SWAPS,
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        batch=study.probes.batch,
        max_new_tokens=study.probes.max_new_tokens,
        code=code("swap_vision_tokens.py"),
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    log:
        LOG + "swap_vision_tokens/{checkpoint}.{function}.log",
    benchmark:
        BENCHMARK + "swap_vision_tokens/{checkpoint}.{function}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/swap_vision_tokens.py"


rule skip_layers:
    input:
        manifest=MANIFEST,
        examples=EXAMPLES.format(task=study.abilities.reasoning),
    output:
        records=SKIPS,
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        examples=study.probes.skip_examples,
        batch=study.probes.batch,
        max_new_tokens=study.probes.max_new_tokens,
        code=code("skip_layers.py"),
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    log:
        LOG + "skip_layers/{checkpoint}.log",
    benchmark:
        BENCHMARK + "skip_layers/{checkpoint}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/skip_layers.py"
