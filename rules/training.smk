# The mini study's own stages: Base (pretraining), IN (supervised chains), RL (GRPO), RL with a region frozen.


def start(wildcards):
    return manifest(study.checkpoints[wildcards.checkpoint].start)


rule pretrain:
    output:
        manifest=MANIFEST,
        weights=WEIGHTS,
        history=TRAINING_LOG,
    wildcard_constraints:
        checkpoint=one_of(study.sources("pretrain")),
    params:
        settings=source,
        # The tokenizer must know the words of every prompt.
        system_prompts=sorted(recipe.system_prompt for recipe in study.recipes.values()),
        code=code("pretrain.py"),
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        LOG + "pretrain/{checkpoint}.log",
    benchmark:
        BENCHMARK + "pretrain/{checkpoint}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/pretrain.py"


rule finetune:
    input:
        start=start,
    output:
        manifest=MANIFEST,
        weights=WEIGHTS,
        history=TRAINING_LOG,
    wildcard_constraints:
        checkpoint=one_of(study.sources("sft")),
    params:
        settings=source,
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        code=code("finetune.py"),
    resources:
        mem_mb=4000,
        runtime=60,
    log:
        LOG + "finetune/{checkpoint}.log",
    benchmark:
        BENCHMARK + "finetune/{checkpoint}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/finetune.py"


rule reinforce:
    input:
        start=start,
    output:
        manifest=MANIFEST,
        weights=WEIGHTS,
        history=TRAINING_LOG,
    wildcard_constraints:
        checkpoint=one_of(study.sources("grpo")),
    params:
        settings=source,
        cuts=study.regions.cuts,
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        code=code("reinforce.py"),
    resources:
        mem_mb=4000,
        runtime=120,
    log:
        LOG + "reinforce/{checkpoint}.log",
    benchmark:
        BENCHMARK + "reinforce/{checkpoint}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/reinforce.py"
