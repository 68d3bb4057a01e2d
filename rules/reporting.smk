# Every figure and table of the paper, each with the numbers beneath it as CSV; the claims; and the report.

REFERENCE = "workflow/claims/reference.yaml"


rule figure2:
    input:
        scores=TABLES.format(table="scores"),
        reference=REFERENCE,
    output:
        **figure("figure2"),
    log:
        f"{LOG}/figure2.log",
    benchmark:
        f"{BENCHMARK}/figure2.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        benchmarks=study.evaluation.benchmarks,
        code=code("figure2.py"),
    script:
        "../workflow/scripts/figure2.py"


rule figure3:
    input:
        records=[
            ATTENTION.format(checkpoint=checkpoint, shard=shard)
            for recipe in study.of("attention")
            for checkpoint in (
                study.recipes[recipe].instruct,
                study.recipes[recipe].rl,
            )
            for shard in range(study.probes.shards)
        ],
        manifest=depth(),
    output:
        **figure("figure3"),
        differences=table("attention"),
    log:
        f"{LOG}/figure3.log",
    benchmark:
        f"{BENCHMARK}/figure3.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        labels=[
            (recipe, stage)
            for recipe in study.of("attention")
            for stage in ("IN", "RL")
            for _ in range(study.probes.shards)
        ],
        cuts=study.regions.cuts,
        code=code("figure3.py"),
    script:
        "../workflow/scripts/figure3.py"


rule figure4:
    input:
        swaps=LOCALIZATION.format(checkpoint=BASE, probe="swap"),
        skips=LOCALIZATION.format(checkpoint=BASE, probe="skip"),
        manifest=depth(),
    output:
        **figure("figure4"),
    log:
        f"{LOG}/figure4.log",
    benchmark:
        f"{BENCHMARK}/figure4.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cuts=study.regions.cuts,
        code=code("figure4.py"),
    script:
        "../workflow/scripts/figure4.py"


rule figure5:
    input:
        records=expand(
            UPDATES, recipe=study.of("updates"), shard=range(study.updates.shards)
        ),
        manifest=depth(),
    output:
        **figure("figure5"),
        shares=table("energy"),
    log:
        f"{LOG}/figure5.log",
    benchmark:
        f"{BENCHMARK}/figure5.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cuts=study.regions.cuts,
        seed=study.seed,
        code=code("figure5.py"),
    script:
        "../workflow/scripts/figure5.py"


rule figure6:
    input:
        spectra=expand(
            SPECTRA, recipe=study.of("updates"), shard=range(study.updates.shards)
        ),
        manifest=depth(),
    output:
        **figure("figure6"),
    log:
        f"{LOG}/figure6.log",
    benchmark:
        f"{BENCHMARK}/figure6.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cuts=study.regions.cuts,
        code=code("figure6.py"),
    script:
        "../workflow/scripts/figure6.py"


rule spectra:
    input:
        records=expand(
            UPDATES, recipe=study.of("updates"), shard=range(study.updates.shards)
        ),
        spectra=FIGURES.format(figure="figure6", kind="csv"),
        manifest=depth(),
    output:
        **figure("spectra"),
    log:
        f"{LOG}/spectra.log",
    benchmark:
        f"{BENCHMARK}/spectra.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cuts=study.regions.cuts,
        code=code("spectra.py"),
    script:
        "../workflow/scripts/spectra.py"


rule training_curves:
    input:
        histories=expand(TRAINING_LOG, checkpoint=trained()),
    output:
        **figure("training"),
    log:
        f"{LOG}/training_curves.log",
    benchmark:
        f"{BENCHMARK}/training_curves.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        labels=[(name, study.checkpoints[name].train) for name in trained()],
        code=code("training_curves.py"),
    script:
        "../workflow/scripts/training_curves.py"


rule table2:
    input:
        scores=TABLES.format(table="scores"),
        reference=REFERENCE,
    output:
        table=table("table2"),
    log:
        f"{LOG}/table2.log",
    benchmark:
        f"{BENCHMARK}/table2.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        recipes=study.of("merging"),
        code=code("table2.py"),
    script:
        "../workflow/scripts/table2.py"


rule table3:
    input:
        scores=TABLES.format(table="scores"),
        reference=REFERENCE,
    output:
        table=table("table3"),
    log:
        f"{LOG}/table3.log",
    benchmark:
        f"{BENCHMARK}/table3.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        recipes=study.of("freezing"),
        benchmarks=study.evaluation.benchmarks,
        code=code("table3.py"),
    script:
        "../workflow/scripts/table3.py"


rule region_means:
    input:
        attention=figure_data("figure3"),
        localization=figure_data("figure4"),
        energy=figure_data("figure5"),
        spectra=figure_data("figure6"),
        manifest=depth(),
    output:
        table=table("regions"),
    log:
        f"{LOG}/region_means.log",
    benchmark:
        f"{BENCHMARK}/region_means.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cuts=study.regions.cuts,
        code=code("region_means.py"),
    script:
        "../workflow/scripts/region_means.py"


rule heatmap:
    input:
        rates=figure_data("figure4"),
        manifest=depth(),
    output:
        **figure("heatmap"),
    log:
        f"{LOG}/heatmap.log",
    benchmark:
        f"{BENCHMARK}/heatmap.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cuts=study.regions.cuts,
        code=code("heatmap.py"),
    script:
        "../workflow/scripts/heatmap.py"


rule doses:
    input:
        evidence_files("grades"),
    output:
        **figure("doses"),
    log:
        f"{LOG}/doses.log",
    benchmark:
        f"{BENCHMARK}/doses.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        evidence=evidence("grades"),
        recipes=study.of("merging"),
        families=study.doses(),
        code=code("doses.py"),
    script:
        "../workflow/scripts/doses.py"


rule controls:
    input:
        evidence_files("attention", "localization", "updates"),
    output:
        **figure("controls"),
    log:
        f"{LOG}/controls.log",
    benchmark:
        f"{BENCHMARK}/controls.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        evidence=evidence("attention", "localization", "updates"),
        code=code("controls.py"),
    script:
        "../workflow/scripts/controls.py"


rule test_claims:
    input:
        evidence_files(*EVIDENCE),
        claims=study.claims,
        reference=REFERENCE,
    output:
        **figure("claims"),
        verdicts=table("verdicts"),
        replicates=table("replicates"),
        paper=table("paper_claims"),
    log:
        f"{LOG}/test_claims.log",
    benchmark:
        f"{BENCHMARK}/test_claims.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        evidence=evidence(*EVIDENCE),
        code=code("test_claims.py"),
    script:
        "../workflow/scripts/test_claims.py"


rule write_report:
    input:
        expand(FIGURES, figure=figures(), kind=["pdf", "png", "csv"]),
        expand(TABLES, table=tables()),
        evidence_files(*EVIDENCE),
        claims=study.claims,
        page=["workflow/report/report.html.jinja", "workflow/report/report.js"],
        words=["workflow/report/columns.yaml", *captions()],
    output:
        page=WHOLE,
    log:
        f"{LOG}/write_report.log",
    benchmark:
        f"{BENCHMARK}/write_report.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        report=report_arguments(),
        code=code("write_report.py"),
    script:
        "../workflow/scripts/write_report.py"
