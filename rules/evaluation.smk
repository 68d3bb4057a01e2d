# Section 2.2: generate (model) -> grade (no model) -> score. They meet only in files.

RESPONSES = f"{RESULTS}/responses/{{checkpoint}}.{{shard}}.jsonl"
# What has been answered, as it is made: a job that was stopped goes on there, and a new task costs only itself.
ANSWERS = f"{RESULTS}/answers/{{checkpoint}}/{{shard}}.jsonl"
GRADES = f"{RESULTS}/grades/{{checkpoint}}.csv"
JUDGED = f"{RESULTS}/judged/{{checkpoint}}.csv"


rule settle_prompt:
    input:
        # Where training here began: what is trained has its chat template.
        manifest=lambda wildcards: manifest(
            study.untrained(study.template_from(wildcards.recipe))
        ),
    output:
        prompt=PROMPT,
    log:
        f"{LOG}/settle_prompt/{{recipe}}.log",
    benchmark:
        f"{BENCHMARK}/settle_prompt/{{recipe}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        template_from=lambda wildcards: study.template_from(wildcards.recipe),
        settled=lambda wildcards: bool(
            study.recipes[wildcards.recipe].chat_template_from
        ),
        system_prompt=lambda wildcards: study.recipes[wildcards.recipe].system_prompt,
        code=code("settle_prompt.py"),
    script:
        "../workflow/scripts/settle_prompt.py"


rule generate:
    input:
        manifest=MANIFEST,
        prompts=prompts,
        # A hybrid may go once its responses are made.
        model=lambda wildcards: (
            MODEL.format(checkpoint=wildcards.checkpoint)
            if "." in wildcards.checkpoint
            else []
        ),
        examples=expand(EXAMPLES, task=study.tasks()),
        images=expand(f"{RESULTS}/data/{{task}}", task=study.tasks()),
        descriptions=expand(DESCRIPTIONS, task=study.described()),
    output:
        responses=RESPONSES,
    log:
        f"{LOG}/generate/{{checkpoint}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/generate/{{checkpoint}}.{{shard}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=host_mb,
        runtime=generate_minutes,
    params:
        tasks=study.tasks(),
        described=study.described(),
        conditions={task: study.conditions(task) for task in study.tasks()},
        shuffled=[
            task for task in study.tasks() if "shuffled" in study.conditions(task)
        ],
        seed=study.seed,
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        shards=study.evaluation.shards,
        batch=study.evaluation.batch,
        max_new_tokens=study.evaluation.max_new_tokens,
        engine=study.evaluation.engine,
        max_pixels=study.evaluation.max_pixels,
        store=ANSWERS,
        code=code("generate.py"),
    script:
        "../workflow/scripts/generate.py"


rule grade:
    input:
        responses=expand(
            RESPONSES, shard=range(study.evaluation.shards), allow_missing=True
        ),
        examples=expand(EXAMPLES, task=study.tasks()),
    output:
        grades=GRADES,
    log:
        f"{LOG}/grade/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/grade/{{checkpoint}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code("grade.py"),
    script:
        "../workflow/scripts/grade.py"


rule judge:
    input:
        grades=GRADES,
        responses=expand(
            RESPONSES, shard=range(study.evaluation.shards), allow_missing=True
        ),
        examples=expand(EXAMPLES, task=study.tasks()),
        manifest=helper_inputs(study.judge),
    output:
        judged=JUDGED,
    log:
        f"{LOG}/judge/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/judge/{{checkpoint}}.tsv"
    retries: 2
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1 if helper_inputs(study.judge) else 0,
        mem_mb=helper_mb(study.judge),
        runtime=120,
    params:
        by=study.judge.model_dump() if study.judge else None,
        batch=study.evaluation.batch,
        engine=study.evaluation.engine,
        store=f"{RESULTS}/answers/judge.{{checkpoint}}/0.jsonl",
        code=code("judge.py"),
    script:
        "../workflow/scripts/judge.py"


rule score:
    input:
        grades=expand(GRADES, checkpoint=roles()),
        judged=expand(JUDGED, checkpoint=roles()) if study.judge else [],
        examples=expand(EXAMPLES, task=study.tasks()),
    output:
        scores=table("scores"),
        vision=table("vision"),
        differences=table("differences"),
        paired=table("paired"),
        categories=table("categories") if PUBLIC else [],
    log:
        f"{LOG}/score.log",
    benchmark:
        f"{BENCHMARK}/score.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        roles=roles(),
        abilities=study.abilities.model_dump(),
        seed=study.seed,
        code=code("score.py"),
    script:
        "../workflow/scripts/score.py"
