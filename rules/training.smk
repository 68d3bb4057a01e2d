# The mini study's stages: Base (pretraining), IN (supervised chains), RL (GRPO), RL with a frozen region; and RL of any
# checkpoint on user-provided prompts, on one or more GPUs.


rule pretrain:
    output:
        manifest=paths.manifest,
        weights=paths.weights,
        history=paths.training_log,
    log:
        f"{LOG}/pretrain/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/pretrain/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(study.sources("pretrain")),
    priority: 1  # everything else waits for this
    conda:
        "../envs/frankenstein.yaml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wildcards: jobs.settings_of(wildcards.checkpoint),
        # The tokenizer must cover the words of every system prompt.
        system_prompts=study.system_prompts(),
        code=code("pretrain.py"),
    script:
        "../workflow/scripts/pretrain.py"


rule finetune:
    input:
        start=lambda wildcards: jobs.start(wildcards.checkpoint),
        prompt=lambda wildcards: jobs.lent_template(wildcards.checkpoint),
    output:
        manifest=paths.manifest,
        weights=paths.weights,
        history=paths.training_log,
    log:
        f"{LOG}/finetune/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/finetune/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(study.sources("sft")),
    priority: 1  # everything else waits for this
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wildcards: jobs.settings_of(wildcards.checkpoint),
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        code=code("finetune.py"),
        family=family,
    script:
        "../workflow/scripts/finetune.py"


rule reinforce:
    input:
        start=lambda wildcards: jobs.start(wildcards.checkpoint),
        prompt=lambda wildcards: jobs.lent_template(wildcards.checkpoint),
    output:
        manifest=paths.manifest,
        weights=paths.weights,
        history=paths.training_log,
    log:
        f"{LOG}/reinforce/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/reinforce/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=one_of(
            name for name in study.sources("grpo") if study.checkpoints[name].questions
        ),
    priority: 1  # everything else waits for this
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
        save_steps=lambda wildcards: study.checkpoints[wildcards.checkpoint].save_steps
        or 0,
        report_to=study.training.report_to or "none",
    params:
        settings=lambda wildcards: jobs.settings_of(wildcards.checkpoint),
        cuts=lambda wildcards: jobs.cuts(wildcards.checkpoint),
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        state=on_disk.training_state,
        code=code("reinforce.py"),
        family=family,
    script:
        "../workflow/scripts/reinforce.py"


rule reinforce_prompts:
    input:
        start=lambda wildcards: jobs.start(wildcards.checkpoint),
        prompt=lambda wildcards: jobs.lent_template(wildcards.checkpoint),
        prompt_file=lambda wildcards: study.checkpoints[
            wildcards.checkpoint
        ].prompt_file,
    output:
        manifest=paths.manifest,
        model=directory(paths.model),
        history=paths.training_log,
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
    priority: 1  # everything else waits for this
    conda:
        ROLLOUTS
    resources:
        gpu=lambda wildcards: study.checkpoints[wildcards.checkpoint].gpus,
        mem_mb=per_attempt(costs.reinforce_mb),
        runtime=per_attempt(costs.reinforce_minutes),
        save_steps=lambda wildcards: study.checkpoints[wildcards.checkpoint].save_steps
        or 0,
        report_to=study.training.report_to or "none",
    params:
        settings=lambda wildcards: jobs.settings_of(wildcards.checkpoint),
        cuts=lambda wildcards: jobs.cuts(wildcards.checkpoint),
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        state=on_disk.training_state,
        code=code("reinforce_prompts.py"),
        family=family,
    script:
        "../workflow/scripts/reinforce_prompts.py"
