# Every figure and table of the paper, each with the numbers beneath it as CSV.

RECIPES = list(study.recipes)
FROZEN = [name for name, recipe in study.recipes.items() if recipe.frozen]


def figures():
    return ["figure2", "figure3", "figure4", "figure5", "figure6"] + (["training"] if trained() else [])


def tables():
    return ["table2", "scores", "differences", "regions"] + (["table3"] if FROZEN else [])


def figure(name):
    """The outputs of a figure: PDF, PNG (in the report) and the CSV of what is drawn."""
    caption = f"../workflow/report/{name}.rst"
    return dict(
        pdf=FIGURES.format(figure=name) + ".pdf",
        png=report(FIGURES.format(figure=name) + ".png", caption=caption, category="Figures"),
        table=FIGURES.format(figure=name) + ".csv",
    )


def table(name):
    return report(
        TABLES.format(table=name), caption=f"../workflow/report/{name}.rst", category="Tables"
    )


rule figure2:
    input:
        scores=TABLES.format(table="scores"),
    output:
        **figure("figure2"),
    params:
        benchmarks=study.evaluation.benchmarks,
        code=code("figure2.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "figure2.log",
    benchmark:
        BENCHMARK + "figure2.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/figure2.py"


rule figure3:
    input:
        records=[
            ATTENTION.format(checkpoint=checkpoint)
            for recipe in study.recipes.values()
            for checkpoint in (recipe.instruct, recipe.rl)
        ],
        manifest=manifest(bases()[0]),
    output:
        **figure("figure3"),
    params:
        labels=[(recipe, stage) for recipe in RECIPES for stage in ("IN", "RL")],
        cuts=study.regions.cuts,
        code=code("figure3.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "figure3.log",
    benchmark:
        BENCHMARK + "figure3.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/figure3.py"


rule figure4:
    input:
        swaps=expand(SWAPS, checkpoint=bases()[0], function=study.probes.functions),
        skips=expand(SKIPS, checkpoint=bases()[0]),
        pairs=expand(PAIRS, function=study.probes.functions),
        examples=EXAMPLES.format(task=study.abilities.reasoning),
        manifest=manifest(bases()[0]),
    output:
        **figure("figure4"),
    params:
        cuts=study.regions.cuts,
        code=code("figure4.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "figure4.log",
    benchmark:
        BENCHMARK + "figure4.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/figure4.py"


rule figure5:
    input:
        records=expand(UPDATES, recipe=RECIPES, stage=["in", "rl"]),
        manifest=manifest(bases()[0]),
    output:
        **figure("figure5"),
    params:
        cuts=study.regions.cuts,
        code=code("figure5.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "figure5.log",
    benchmark:
        BENCHMARK + "figure5.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/figure5.py"


rule figure6:
    input:
        spectra=expand(SPECTRA, recipe=RECIPES, stage=["in", "rl"]),
        manifest=manifest(bases()[0]),
    output:
        **figure("figure6"),
    params:
        cuts=study.regions.cuts,
        code=code("figure6.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "figure6.log",
    benchmark:
        BENCHMARK + "figure6.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/figure6.py"


rule training_curves:
    input:
        histories=expand(TRAINING_LOG, checkpoint=trained()),
    output:
        **figure("training"),
    params:
        labels=[(name, study.checkpoints[name].train) for name in trained()],
        code=code("training_curves.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "training_curves.log",
    benchmark:
        BENCHMARK + "training_curves.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/training_curves.py"


rule table2:
    input:
        scores=TABLES.format(table="scores"),
    output:
        table=table("table2"),
    params:
        code=code("table2.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "table2.log",
    benchmark:
        BENCHMARK + "table2.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/table2.py"


rule table3:
    input:
        scores=TABLES.format(table="scores"),
    output:
        table=table("table3"),
    params:
        recipes=FROZEN,
        benchmarks=study.evaluation.benchmarks,
        code=code("table3.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "table3.log",
    benchmark:
        BENCHMARK + "table3.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/table3.py"


rule region_means:
    input:
        attention=FIGURES.format(figure="figure3") + ".csv",
        localization=FIGURES.format(figure="figure4") + ".csv",
        energy=FIGURES.format(figure="figure5") + ".csv",
        spectra=FIGURES.format(figure="figure6") + ".csv",
        manifest=manifest(bases()[0]),
    output:
        table=table("regions"),
    params:
        cuts=study.regions.cuts,
        code=code("region_means.py"),
    resources:
        mem_mb=1000,
        runtime=10,
    log:
        LOG + "region_means.log",
    benchmark:
        BENCHMARK + "region_means.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/region_means.py"
