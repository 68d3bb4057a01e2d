# Section 2.2: generate (model) -> grade (no model) -> score. The stages communicate only through files.

# How every checkpoint is asked; its tasks are study.tasks_of.
EVALUATION = dict(
    described=study.described(),
    seed=study.seed,
    shards=study.evaluation.shards,
    batch=study.evaluation.batch,
    max_new_tokens=study.evaluation.max_new_tokens,
    max_pixels=study.evaluation.max_pixels,
)


rule settle_prompt:
    input:
        # The checkpoint training started from, whose chat template trained checkpoints keep.
        manifest=lambda wildcards: jobs.manifest(
            study.untrained(study.template_from(wildcards.recipe))
        ),
    output:
        prompt=paths.prompt,
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
        unpack(lambda wildcards: jobs.asked(wildcards.checkpoint)),
        manifest=paths.manifest,
        prompts=lambda wildcards: jobs.prompts(wildcards.checkpoint),
        # A hybrid may be deleted once its responses are generated.
        model=lambda wildcards: (
            paths.model.format(checkpoint=wildcards.checkpoint)
            if "." in wildcards.checkpoint
            else []
        ),
    output:
        responses=paths.responses,
    log:
        f"{LOG}/generate/{{checkpoint}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/generate/{{checkpoint}}.{{shard}}.tsv"
    wildcard_constraints:
        checkpoint=ON_DISK,
    conda:
        ENGINE
    resources:
        gpu=lambda wildcards: (
            0
            if wildcards.checkpoint in study.evaluation.servers
            else study.evaluation.gpus
        ),
        mem_mb=per_attempt(costs.host_mb),
        runtime=per_attempt(costs.generate_minutes),
    params:
        **EVALUATION,
        conditions=lambda wildcards: study.asked(wildcards.checkpoint),
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        engine=study.evaluation.engine,
        server=lambda wildcards: jobs.server(wildcards.checkpoint),
        store=on_disk.answers,
        code=code("generate.py"),
    script:
        "../workflow/scripts/generate.py"


# The hybrids of a run, merged in memory and answering one after the other: no disk, and one start of a process.
rule generate_hybrids:
    input:
        unpack(lambda wildcards: jobs.donors_in_memory(wildcards.recipe)),
        unpack(lambda wildcards: jobs.asked(a_hybrid(wildcards))),
        prompts=lambda wildcards: [paths.prompt.format(recipe=wildcards.recipe)],
    output:
        jobs.of_hybrids(paths.responses),
    log:
        f"{LOG}/generate_hybrids/{{recipe}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/generate_hybrids/{{recipe}}.{{shard}}.tsv"
    wildcard_constraints:
        recipe=one_of(study.of("merging") if jobs.in_memory else []),
    conda:
        ENGINE
    resources:
        gpu=study.evaluation.gpus,
        mem_mb=lambda wildcards, attempt: attempt
        * costs.hybrids_mb(study, wildcards.recipe),
        runtime=lambda wildcards, attempt: attempt
        * costs.hybrids_minutes(study, wildcards.recipe, len(jobs.in_memory)),
    params:
        **EVALUATION,
        conditions=lambda wildcards: study.asked(a_hybrid(wildcards)),
        specs=lambda wildcards: {
            hybrid: study.assignment(hybrid) for hybrid in jobs.in_memory
        },
        donors=lambda wildcards: [
            key.partition(".")[2] for key in jobs.donors_in_memory(wildcards.recipe)
        ],
        rest_from=study.merging.rest_from,
        system_prompt=lambda wildcards: study.recipes[wildcards.recipe].system_prompt,
        engine=study.evaluation.engine,
        store=lambda wildcards: {
            hybrid: on_disk.answers.format(
                checkpoint=f"{wildcards.recipe}.{hybrid}", shard=wildcards.shard
            )
            for hybrid in jobs.in_memory
        },
        code=code("generate_hybrids.py"),
        family=family,
    script:
        "../workflow/scripts/generate_hybrids.py"


rule grade:
    input:
        responses=expand(
            paths.responses, shard=range(study.evaluation.shards), allow_missing=True
        ),
        examples=lambda wildcards: jobs.examples(wildcards.checkpoint),
    output:
        paths.grades,
    log:
        f"{LOG}/grade/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/grade/{{checkpoint}}.tsv"
    wildcard_constraints:
        checkpoint=ON_DISK,
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        checkpoints=lambda wildcards: [wildcards.checkpoint],
        code=code("grade.py"),
    script:
        "../workflow/scripts/grade.py"


use rule grade as grade_hybrids with:
    input:
        responses=expand(
            jobs.of_hybrids(paths.responses),
            shard=range(study.evaluation.shards),
            allow_missing=True,
        ),
        examples=lambda wildcards: jobs.examples(a_hybrid(wildcards)),
    output:
        jobs.of_hybrids(paths.grades),
    log:
        f"{LOG}/grade_hybrids/{{recipe}}.log",
    benchmark:
        f"{BENCHMARK}/grade_hybrids/{{recipe}}.tsv"
    wildcard_constraints:
        recipe=one_of(study.of("merging") if jobs.in_memory else []),
    params:
        checkpoints=lambda wildcards: [
            f"{wildcards.recipe}.{hybrid}" for hybrid in jobs.in_memory
        ],
        code=code("grade.py"),


rule judge:
    input:
        grades=paths.grades,
        responses=expand(
            paths.responses, shard=range(study.evaluation.shards), allow_missing=True
        ),
        examples=lambda wildcards: jobs.examples(wildcards.checkpoint),
        manifest=jobs.helper_input(study.judge),
    output:
        judged=paths.judged,
    log:
        f"{LOG}/judge/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/judge/{{checkpoint}}.tsv"
    retries: 2
    conda:
        ENGINE
    resources:
        gpu=jobs.helper_gpus(study.judge),
        mem_mb=costs.helper_mb(study, study.judge),
        runtime=120,
    params:
        by=study.judge.model_dump() if study.judge else None,
        batch=study.evaluation.batch,
        engine=study.evaluation.engine,
        store=f"{on_disk.results}/answers/judge.{{checkpoint}}/0.jsonl",
        code=code("judge.py"),
    script:
        "../workflow/scripts/judge.py"


rule score:
    input:
        **jobs.files("grades"),
        **jobs.judged(),
        examples=expand(paths.examples, task=study.tasks()),
    output:
        scores=table("scores", study.evaluated()),
        vision=table("vision", study.evaluated()),
        differences=table("differences", study.evaluated()),
        paired=table("paired", study.evaluated()),
        categories=table("categories", study.evaluated()) if jobs.public else [],
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
        roles=jobs.roles(),
        runs=jobs.settings()["runs"],
        abilities=study.abilities.model_dump(),
        code=code("score.py"),
    script:
        "../workflow/scripts/score.py"
