# Every figure and table of the paper, each with its underlying numbers as CSV; the claims; and the report.
# Each figure is a module of that name in workflow/frankenstein/report/figures, each table a function in report/tables.py.


rule figure2:
    input:
        **jobs.files("scores"),
    output:
        **figure("figure2", study.evaluated()),
    log:
        f"{LOG}/figure2.log",
    benchmark:
        f"{BENCHMARK}/figure2.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        figure="figure2",
        settings=jobs.settings("scores"),
        code=code("draw.py", "report.figures.figure2"),
    script:
        "../workflow/scripts/draw.py"


use rule figure2 as figure3 with:
    input:
        **jobs.files("attention"),
    output:
        **figure("figure3", study.of("attention")),
    log:
        f"{LOG}/figure3.log",
    benchmark:
        f"{BENCHMARK}/figure3.tsv"
    params:
        figure="figure3",
        settings=jobs.settings("attention"),
        code=code("draw.py", "report.figures.figure3"),


use rule figure2 as figure4 with:
    input:
        **jobs.files("localization"),
    output:
        **figure("figure4", jobs.base),
    log:
        f"{LOG}/figure4.log",
    benchmark:
        f"{BENCHMARK}/figure4.tsv"
    params:
        figure="figure4",
        settings=jobs.settings("localization"),
        code=code("draw.py", "report.figures.figure4"),


use rule figure2 as heatmap with:
    input:
        **jobs.files("localization"),
    output:
        **figure("heatmap", jobs.base),
    log:
        f"{LOG}/heatmap.log",
    benchmark:
        f"{BENCHMARK}/heatmap.tsv"
    params:
        figure="heatmap",
        settings=jobs.settings("localization"),
        code=code("draw.py", "report.figures.heatmap"),


use rule figure2 as figure5 with:
    input:
        **jobs.files("updates"),
    output:
        **figure("figure5", study.of("updates")),
    log:
        f"{LOG}/figure5.log",
    benchmark:
        f"{BENCHMARK}/figure5.tsv"
    params:
        figure="figure5",
        settings=jobs.settings("updates"),
        code=code("draw.py", "report.figures.figure5"),


use rule figure2 as figure6 with:
    input:
        **jobs.files("spectra"),
    output:
        **figure("figure6", study.of("updates")),
    log:
        f"{LOG}/figure6.log",
    benchmark:
        f"{BENCHMARK}/figure6.tsv"
    params:
        figure="figure6",
        settings=jobs.settings("spectra"),
        code=code("draw.py", "report.figures.figure6"),


use rule figure2 as spectra with:
    input:
        **jobs.files("updates", "spectra"),
    output:
        **figure("spectra", study.of("updates")),
    log:
        f"{LOG}/spectra.log",
    benchmark:
        f"{BENCHMARK}/spectra.tsv"
    params:
        figure="spectra",
        settings=jobs.settings("updates", "spectra"),
        code=code("draw.py", "report.figures.spectra"),


use rule figure2 as doses with:
    input:
        **jobs.files("grades"),
    output:
        **figure("doses", study.of("merging") and study.doses()),
    log:
        f"{LOG}/doses.log",
    benchmark:
        f"{BENCHMARK}/doses.tsv"
    params:
        figure="doses",
        settings=jobs.settings("grades", "doses"),
        code=code("draw.py", "report.figures.doses"),


use rule figure2 as controls with:
    input:
        **jobs.files("attention", "localization", "updates"),
    output:
        **figure("controls", jobs.layerwise),
    log:
        f"{LOG}/controls.log",
    benchmark:
        f"{BENCHMARK}/controls.tsv"
    params:
        figure="controls",
        settings=jobs.settings("attention", "localization", "updates"),
        code=code("draw.py", "report.figures.controls"),


use rule figure2 as training with:
    input:
        **jobs.files("training"),
    output:
        **figure("training", jobs.trained()),
    log:
        f"{LOG}/training.log",
    benchmark:
        f"{BENCHMARK}/training.tsv"
    params:
        figure="training",
        settings=jobs.settings("training"),
        code=code("draw.py", "report.figures.training"),


rule table2:
    input:
        **jobs.files("scores"),
    output:
        table=table("table2", study.of("merging")),
    log:
        f"{LOG}/tables/table2.log",
    benchmark:
        f"{BENCHMARK}/tables/table2.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        table="table2",
        settings=jobs.settings("scores"),
        code=code("tabulate.py"),
    script:
        "../workflow/scripts/tabulate.py"


use rule table2 as table3 with:
    input:
        **jobs.files("scores"),
    output:
        table=table("table3", study.of("freezing")),
    log:
        f"{LOG}/tables/table3.log",
    benchmark:
        f"{BENCHMARK}/tables/table3.tsv"
    params:
        table="table3",
        settings=jobs.settings("scores"),
        code=code("tabulate.py"),


use rule table2 as rewarded with:
    input:
        **jobs.files("grades"),
    output:
        table=table("rewarded", jobs.rewarded()),
    log:
        f"{LOG}/tables/rewarded.log",
    benchmark:
        f"{BENCHMARK}/tables/rewarded.tsv"
    params:
        table="rewarded",
        settings=jobs.settings("grades", "rewarded"),
        code=code("tabulate.py"),


use rule table2 as attention_differences with:
    input:
        **jobs.files("attention"),
    output:
        table=table("attention", study.of("attention")),
    log:
        f"{LOG}/tables/attention.log",
    benchmark:
        f"{BENCHMARK}/tables/attention.tsv"
    params:
        table="attention",
        settings=jobs.settings("attention"),
        code=code("tabulate.py"),


use rule table2 as energy with:
    input:
        **jobs.files("updates"),
    output:
        table=table("energy", study.of("updates")),
    log:
        f"{LOG}/tables/energy.log",
    benchmark:
        f"{BENCHMARK}/tables/energy.tsv"
    params:
        table="energy",
        settings=jobs.settings("updates"),
        code=code("tabulate.py"),


use rule table2 as overlaps with:
    input:
        **jobs.files("subspaces"),
    output:
        table=table("overlaps", len(study.of("updates")) > 1),
    log:
        f"{LOG}/tables/overlaps.log",
    benchmark:
        f"{BENCHMARK}/tables/overlaps.tsv"
    params:
        table="overlaps",
        settings=jobs.settings("subspaces"),
        code=code("tabulate.py"),


use rule table2 as regions with:
    input:
        **jobs.files("attention", "localization", "updates", "spectra"),
    output:
        table=table("regions", jobs.layerwise),
    log:
        f"{LOG}/tables/regions.log",
    benchmark:
        f"{BENCHMARK}/tables/regions.tsv"
    params:
        table="regions",
        settings=jobs.settings("attention", "localization", "updates", "spectra"),
        code=code("tabulate.py"),


rule test_claims:
    input:
        **jobs.files(*PARTS),
        claims=CLAIMS,
        reference=jobs.reference,
    output:
        **figure("claims"),
        verdicts=table("verdicts"),
        runs=table("runs"),
        sensitivity=table("sensitivity"),
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
        settings=jobs.settings(*PARTS),
        also=study.regions.also,
        code=code("test_claims.py"),
    script:
        "../workflow/scripts/test_claims.py"


rule write_report:
    input:
        **jobs.files(*PARTS),
        figures=expand(paths.figure, figure=FIGURES, kind=["pdf", "png", "csv"]),
        tables=expand(paths.table, table=TABLES),
        claims=CLAIMS,
        examples=expand(paths.examples, task=study.tasks()),
        responses=[path for name in jobs.roles() for path in jobs.responses(name)],
        maps=jobs.attention_maps(),
        page=PAGE,
        words=[
            of_workflow(f"workflow/report/{name}")
            for name in ("columns.yaml", *(f"{name}.rst" for name in FIGURES + TABLES))
        ],
    output:
        page=paths.report,
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
