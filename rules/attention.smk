# Section 2.3: attention from reasoning tokens to vision tokens over the responses that were evaluated, for IN and RL; and that of each
# over the other's response.


rule attention:
    input:
        manifest=paths.manifest,
        prompts=lambda wildcards: jobs.prompts(wildcards.checkpoint),
        examples=paths.examples.format(task=study.abilities.vision_to_reasoning),
        images=f"{paths.results}/data/{study.abilities.vision_to_reasoning}",
        responses=lambda wildcards: jobs.responses(wildcards.checkpoint),
    output:
        records=paths.attention,
        heads=paths.heads,
        maps=paths.attention_maps,
    log:
        f"{LOG}/attention/{{checkpoint}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/attention/{{checkpoint}}.{{shard}}.tsv"
    conda:
        "../envs/frankenstein.yaml"
    resources:
        gpu=study.probes.gpus,
        mem_mb=per_attempt(costs.probe_mb),
        runtime=per_attempt(costs.attention_minutes),
    params:
        system_prompt=lambda wildcards: study.system_prompt(wildcards.checkpoint),
        task=study.abilities.vision_to_reasoning,
        examples=study.probes.attention_examples,
        shards=study.probes.shards,
        memory_mb=study.probes.memory_mb,
        max_pixels=study.evaluation.max_pixels,
        # Two jobs never write to one file: checkpoint, or checkpoint and text.
        store=lambda wildcards: (
            f"{on_disk.results}/answers/attention.{'.on.'.join(wildcards[:-1])}/{wildcards.shard}.jsonl"
        ),
        code=code("attention.py"),
        family=family,
    script:
        "../workflow/scripts/attention.py"


# A longer response dilutes attention: read by both models, each text tells what the weights change from what the text does.
use rule attention as attention_on_text with:
    input:
        manifest=paths.manifest,
        prompts=lambda wildcards: jobs.prompts(wildcards.checkpoint),
        examples=paths.examples.format(task=study.abilities.vision_to_reasoning),
        images=f"{paths.results}/data/{study.abilities.vision_to_reasoning}",
        responses=lambda wildcards: jobs.responses(wildcards.text),
    output:
        records=paths.attention_on_text,
        maps=paths.attention_maps_on_text,
    log:
        f"{LOG}/attention/{{checkpoint}}.on.{{text}}.{{shard}}.log",
    benchmark:
        f"{BENCHMARK}/attention/{{checkpoint}}.on.{{text}}.{{shard}}.tsv"
    wildcard_constraints:
        text=r"[A-Za-z0-9_-]+",
