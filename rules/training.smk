# The mini study's own stages: Base (pretraining), IN (supervised chains), RL (GRPO), RL with a region frozen; and RL on
# prompts of one's own, of any checkpoint, on one GPU or several.


rule pretrain:
    output:
        manifest=MANIFEST,
        weights=WEIGHTS,
        history=TRAINING_LOG,
    log:
        f"{LOG}/pretrain/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/pretrain/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(study.sources("pretrain")),
    priority: 1  # what everything waits for goes first
    conda:
        "../envs/frankenstein.yaml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        settings=source,
        # The tokenizer must know the words of every prompt.
        system_prompts=study.system_prompts(),
        code=code("pretrain.py"),
    script:
        "../workflow/scripts/pretrain.py"


rule finetune:
    input:
        start=start,
        prompt=lent_template,
    output:
        manifest=MANIFEST,
        weights=WEIGHTS,
        history=TRAINING_LOG,
    log:
        f"{LOG}/finetune/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/finetune/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(study.sources("sft")),
    priority: 1  # what everything waits for goes first
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        settings=source,
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        code=code("finetune.py"),
    script:
        "../workflow/scripts/finetune.py"


rule reinforce:
    input:
        start=start,
        prompt=lent_template,
    output:
        manifest=MANIFEST,
        weights=WEIGHTS,
        history=TRAINING_LOG,
    log:
        f"{LOG}/reinforce/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/reinforce/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(
            name for name in study.sources("grpo") if study.checkpoints[name].questions
        ),
    priority: 1  # what everything waits for goes first
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
        save_steps=save_steps,
    params:
        settings=source,
        # Other cuts are another RL only where a region is frozen.
        cuts=lambda wildcards: (
            study.regions.cuts
            if study.checkpoints[wildcards.checkpoint].frozen
            else None
        ),
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        state=f"{RESULTS}/training/{{checkpoint}}.state",
        code=code("reinforce.py"),
    script:
        "../workflow/scripts/reinforce.py"


rule reinforce_prompts:
    input:
        start=start,
        prompt=lent_template,
        prompt_file=lambda wildcards: study.checkpoints[
            wildcards.checkpoint
        ].prompt_file,
    output:
        manifest=MANIFEST,
        model=directory(MODEL),
        history=TRAINING_LOG,
    log:
        f"{LOG}/reinforce_prompts/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/reinforce_prompts/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(
            name
            for name in study.sources("grpo")
            if study.checkpoints[name].prompt_file
        ),
    priority: 1  # what everything waits for goes first
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=lambda wildcards: study.checkpoints[wildcards.checkpoint].gpus,
        # In float32, for each process on its way to its GPU.
        mem_mb=lambda wildcards, attempt: (
            attempt
            * study.checkpoints[wildcards.checkpoint].gpus
            * 2
            * costs.host_mb(study, wildcards.checkpoint)
        ),
        runtime=lambda wildcards, attempt: (
            attempt * costs.reinforce_minutes(study, wildcards.checkpoint)
        ),
        save_steps=save_steps,
    params:
        settings=source,
        # Other cuts are another RL only where a region is frozen.
        cuts=lambda wildcards: (
            study.regions.cuts
            if study.checkpoints[wildcards.checkpoint].frozen
            else None
        ),
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        state=f"{RESULTS}/training/{{checkpoint}}.state",
        code=code("reinforce_prompts.py"),
    script:
        "../workflow/scripts/reinforce_prompts.py"
