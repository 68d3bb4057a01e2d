# Benchmarks and probe pairs of the mini study, in one record format, beside their images.


rule dataset:
    output:
        examples=EXAMPLES,
        images=directory(RESULTS + "/data/{task}"),
    params:
        seed=study.seed,
        examples=study.evaluation.examples,
        code=code("dataset.py"),
    resources:
        mem_mb=2000,
        runtime=10,
    log:
        LOG + "dataset/{task}.log",
    benchmark:
        BENCHMARK + "dataset/{task}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/dataset.py"


rule probe_pairs:
    output:
        pairs=PAIRS,
        images=directory(RESULTS + "/pairs/{function}"),
    params:
        seed=study.seed,
        pairs=study.probes.pairs,
        code=code("probe_pairs.py"),
    resources:
        mem_mb=2000,
        runtime=10,
    log:
        LOG + "probe_pairs/{function}.log",
    benchmark:
        BENCHMARK + "probe_pairs/{function}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/probe_pairs.py"
