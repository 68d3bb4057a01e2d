# Section 2.3: attention from reasoning tokens to vision tokens, for IN and RL.

ATTENTION = RESULTS + "/attention/{checkpoint}.csv"


rule attention:
    input:
        manifest=MANIFEST,
        examples=EXAMPLES.format(task=study.abilities.vision_to_reasoning),
        images=RESULTS + f"/data/{study.abilities.vision_to_reasoning}",
    output:
        records=ATTENTION,
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        examples=study.probes.attention_examples,
        batch=study.probes.batch,
        max_new_tokens=study.evaluation.max_new_tokens,
        code=code("attention.py"),
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    log:
        LOG + "attention/{checkpoint}.log",
    benchmark:
        BENCHMARK + "attention/{checkpoint}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    script:
        "../workflow/scripts/attention.py"
