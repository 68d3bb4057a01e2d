# Section 2.3: attention from reasoning tokens to vision tokens, for IN and RL.

ATTENTION = f"{RESULTS}/attention/{{checkpoint}}.csv"


rule attention:
    input:
        manifest=MANIFEST,
        examples=EXAMPLES.format(task=study.abilities.vision_to_reasoning),
        images=f"{RESULTS}/data/{study.abilities.vision_to_reasoning}",
    output:
        records=ATTENTION,
    log:
        f"{LOG}/attention/{{checkpoint}}.log",
    benchmark:
        f"{BENCHMARK}/attention/{{checkpoint}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        examples=study.probes.attention_examples,
        batch=study.probes.batch,
        max_new_tokens=study.evaluation.max_new_tokens,
        code=code("attention.py"),
    script:
        "../workflow/scripts/attention.py"
