# Section 3.2: energy and diversity of the IN update (IN - Base) and of the RL update (RL - IN).

UPDATES = f"{RESULTS}/updates/{{recipe}}.{{stage}}.csv"
SPECTRA = f"{RESULTS}/updates/{{recipe}}.{{stage}}.spectra.parquet"


rule weight_updates:
    input:
        unpack(before_and_after),
    output:
        records=UPDATES,
        spectra=SPECTRA,
    log:
        f"{LOG}/weight_updates/{{recipe}}.{{stage}}.log",
    benchmark:
        f"{BENCHMARK}/weight_updates/{{recipe}}.{{stage}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        code=code("weight_updates.py"),
    script:
        "../workflow/scripts/weight_updates.py"
