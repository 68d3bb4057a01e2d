# Section 2.2: generate (model) -> grade (no model) -> score. They meet only in files.

RESPONSES = RESULTS + "/responses/{checkpoint}.{shard}.jsonl"
GRADES = RESULTS + "/grades/{checkpoint}.csv"


rule generate:
    input:
        manifest=MANIFEST,
        examples=expand(EXAMPLES, task=study.tasks()),
        images=expand(RESULTS + "/data/{task}", task=study.tasks()),
    output:
        responses=RESPONSES,
    params:
        conditions={task: conditions(task, study.abilities.model_dump()) for task in study.tasks()},
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        shards=study.evaluation.shards,
        batch=study.evaluation.batch,
        max_new_tokens=study.evaluation.max_new_tokens,
        code=code("generate.py"),
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    log:
        LOG + "generate/{checkpoint}.{shard}.log",
    benchmark:
        BENCHMARK + "generate/{checkpoint}.{shard}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/generate.py"


rule grade:
    input:
        responses=expand(RESPONSES, shard=range(study.evaluation.shards), allow_missing=True),
        examples=expand(EXAMPLES, task=study.tasks()),
    output:
        grades=GRADES,
    params:
        code=code("grade.py"),
    resources:
        mem_mb=2000,
        runtime=30,
    log:
        LOG + "grade/{checkpoint}.log",
    benchmark:
        BENCHMARK + "grade/{checkpoint}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/grade.py"


rule score:
    input:
        grades=expand(GRADES, checkpoint=roles()),
        examples=expand(EXAMPLES, task=study.tasks()),
    output:
        scores=TABLES.format(table="scores"),
        differences=TABLES.format(table="differences"),
    params:
        roles=roles(),
        abilities=study.abilities.model_dump(),
        seed=study.seed,
        code=code("score.py"),
    resources:
        mem_mb=2000,
        runtime=30,
    log:
        LOG + "score.log",
    benchmark:
        BENCHMARK + "score.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/score.py"
