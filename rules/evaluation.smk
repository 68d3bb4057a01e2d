# Section 2.2: generate (model) -> grade (no model) -> score. They meet only in files.

RESPONSES = f"{RESULTS}/responses/{{checkpoint}}.{{shard}}.jsonl"
GRADES = f"{RESULTS}/grades/{{checkpoint}}.csv"


rule generate:
    input:
        manifest=MANIFEST,
        # A hybrid may go once its responses are made.
        model=lambda wildcards: (
            MODEL.format(checkpoint=wildcards.checkpoint)
            if "." in wildcards.checkpoint
            else []
        ),
        examples=expand(EXAMPLES, task=study.tasks()),
        images=expand(f"{RESULTS}/data/{{task}}", task=study.tasks()),
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
        mem_mb=4000,
        runtime=240,
    params:
        conditions={
            task: conditions(task, study.abilities.model_dump())
            for task in study.tasks()
        },
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        shards=study.evaluation.shards,
        batch=study.evaluation.batch,
        max_new_tokens=study.evaluation.max_new_tokens,
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


rule score:
    input:
        grades=expand(GRADES, checkpoint=roles()),
        examples=expand(EXAMPLES, task=study.tasks()),
    output:
        scores=table("scores"),
        differences=table("differences"),
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
