# Benchmarks and probe pairs, the mini study's and public ones, in a common record format with images beside them.


rule dataset:
    output:
        examples=paths.examples,
        images=directory(paths.images),
    log:
        f"{LOG}/dataset/{{task}}.log",
    benchmark:
        f"{BENCHMARK}/dataset/{{task}}.tsv"
    wildcard_constraints:
        task=one_of(jobs.mini),
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        seed=study.seed,
        examples=study.evaluation.examples,
        code=code("dataset.py"),
    script:
        "../workflow/scripts/dataset.py"


rule download_dataset:
    output:
        account=paths.download,
    log:
        f"{LOG}/download_dataset/{{task}}.log",
    benchmark:
        f"{BENCHMARK}/download_dataset/{{task}}.tsv"
    wildcard_constraints:
        task=one_of(jobs.public),
    retries: 3
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        source=lambda wildcards: study.from_hub(wildcards.task),
        code=code("download_dataset.py"),
    script:
        "../workflow/scripts/download_dataset.py"


rule public_dataset:
    input:
        files=lambda wildcards: jobs.published_files(wildcards.task),
    output:
        examples=paths.examples,
        images=directory(paths.images),
    log:
        f"{LOG}/public_dataset/{{task}}.log",
    benchmark:
        f"{BENCHMARK}/public_dataset/{{task}}.tsv"
    wildcard_constraints:
        task=one_of(jobs.public),
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        dataset=lambda wildcards: study.datasets[wildcards.task].model_dump(),
        seed=study.seed,
        code=code("public_dataset.py"),
    script:
        "../workflow/scripts/public_dataset.py"


rule download_pairs:
    output:
        pairs=directory(paths.published_pairs),
    log:
        f"{LOG}/download_pairs.log",
    benchmark:
        f"{BENCHMARK}/download_pairs.tsv"
    retries: 3
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        code=code("download_pairs.py"),
    script:
        "../workflow/scripts/download_pairs.py"


rule published_pairs:
    input:
        pairs=study.probes.path or paths.published_pairs,
    output:
        pairs=paths.pairs,
        images=directory(paths.pair_images),
    log:
        f"{LOG}/published_pairs/{{function}}.log",
    benchmark:
        f"{BENCHMARK}/published_pairs/{{function}}.tsv"
    wildcard_constraints:
        function=one_of(
            study.probes.functions if study.probes.source == "published" else []
        ),
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        pairs=study.probes.pairs,
        code=code("published_pairs.py"),
    script:
        "../workflow/scripts/published_pairs.py"


rule describe:
    input:
        examples=paths.examples,
        images=paths.images,
        texts=(
            study.descriptions.file
            if study.descriptions and study.descriptions.file
            else []
        ),
        manifest=jobs.helper_input(study.descriptions),
    output:
        descriptions=paths.descriptions,
    log:
        f"{LOG}/describe/{{task}}.log",
    benchmark:
        f"{BENCHMARK}/describe/{{task}}.tsv"
    wildcard_constraints:
        task=one_of(study.described()),
    retries: 2
    conda:
        ENGINE
    resources:
        gpu=jobs.helper_gpus(study.descriptions),
        mem_mb=costs.helper_mb(study, study.descriptions),
        runtime=240,
    params:
        by=study.descriptions.model_dump() if study.descriptions else None,
        batch=study.evaluation.batch,
        engine=study.evaluation.engine,
        max_pixels=study.evaluation.max_pixels,
        store=f"{on_disk.results}/answers/descriptions.{{task}}/0.jsonl",
        code=code("describe.py"),
    script:
        "../workflow/scripts/describe.py"


rule probe_pairs:
    output:
        pairs=paths.pairs,
        images=directory(paths.pair_images),
    log:
        f"{LOG}/probe_pairs/{{function}}.log",
    benchmark:
        f"{BENCHMARK}/probe_pairs/{{function}}.tsv"
    wildcard_constraints:
        function=one_of(study.probes.functions if study.probes.source == "mini" else []),
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        seed=study.seed,
        pairs=study.probes.pairs,
        code=code("probe_pairs.py"),
    script:
        "../workflow/scripts/probe_pairs.py"
