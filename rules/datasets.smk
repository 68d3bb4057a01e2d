# Benchmarks and probe pairs of the mini study, in one record format, beside their images.


rule dataset:
    output:
        examples=EXAMPLES,
        images=directory(f"{RESULTS}/data/{{task}}"),
    log:
        f"{LOG}/dataset/{{task}}.log",
    benchmark:
        f"{BENCHMARK}/dataset/{{task}}.tsv"
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


rule probe_pairs:
    output:
        pairs=PAIRS,
        images=directory(f"{RESULTS}/pairs/{{function}}"),
    log:
        f"{LOG}/probe_pairs/{{function}}.log",
    benchmark:
        f"{BENCHMARK}/probe_pairs/{{function}}.tsv"
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
