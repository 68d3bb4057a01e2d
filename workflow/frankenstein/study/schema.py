"""The keys of a study's configuration (config/README.md is made of them), and what they come to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ..core import regions
from ..data import metrics, tasks
from ..data.benchmarks import BENCHMARKS
from ..merging import hybrid_spec
from ..mini import questions
from ..probes.modes import MODES, UNEQUAL

Count = Annotated[int, Field(gt=0)]


Rate = Annotated[float, Field(gt=0)]


# No dot: it parts the recipe from the donors in a hybrid's name.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


MiniTask = Literal[tuple(questions.KINDS)]


Task = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


Function = Literal[tasks.FUNCTIONS]


Region = Literal[regions.NAMES]


Shares = Annotated[dict[MiniTask, Rate], Field(min_length=1)]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _key(what: str, **options) -> Any:
    """A key with its line in config/README.md, which is made of these (configdoc)."""
    return Field(description=what, **options)


class Shape(Closed):
    """Sizes of the mini study's Qwen2.5-VL."""

    hidden_size: Count = _key("width of the residual stream")
    intermediate_size: Count = _key("width of the MLPs")
    layers: Count = _key("decoder layers")
    heads: Count = _key("attention heads")
    kv_heads: Count = _key("heads of keys and values")
    vision_hidden_size: Count = _key("width of the vision tower")
    vision_layers: Count = _key("blocks of the vision tower")
    vocab_size: Annotated[int, Field(ge=300)] = _key("tokens of the tokenizer that is trained with it")
    initializer_range: Rate = _key("standard deviation of the first weights")


class Stage(Closed):
    """A stage of the pretraining curriculum."""

    share: Annotated[float, Field(gt=0, le=1)] = _key("its share of the steps; all add up to 1")
    explained: Annotated[float, Field(ge=0, le=1)] = _key("share of the samples that ask for steps", default=0.0)
    questions: Shares = _key("mini task: share")


class LocalCheckpoint(Closed):
    """A checkpoint that is there already."""

    path: str = _key(
        "a Hugging Face directory (safetensors, config, tokenizer, processor); read in place, never written to"
    )


class FromHub(Closed):
    """A checkpoint on the Hub, fetched into its cache (`HF_HOME`) and checked against the Hub's hashes."""

    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] = _key("the repository, `owner/name`")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = _key(
        "its commit; `frankenstein pin CONFIG` writes today's where it is left out", default=None
    )
    parameters: Annotated[float, Field(gt=0)] | None = _key(
        "how many (8.29e9), for the resources of its jobs and for the plan; `pin` writes it too", default=None
    )


class Pretrained(Closed):
    """A Base trained here from nothing, for the mini study."""

    train: Literal["pretrain"] = _key("`pretrain`")
    seed: int = _key("of its weights and samples")
    model: Shape = _key("its sizes")
    steps: Count = _key("optimiser steps")
    batch: Count = _key("samples a step")
    learning_rate: Rate = _key("at its highest")
    curriculum: Annotated[list[Stage], Field(min_length=1)] = _key("stages, one after the other")


class Finetuned(Closed):
    """An IN trained here: supervised on chains of thought."""

    train: Literal["sft"] = _key("`sft`")
    start: Name = _key("the checkpoint it starts from", alias="from")
    seed: int = _key("of its samples")
    steps: Count = _key("optimiser steps")
    batch: Count = _key("samples a step")
    learning_rate: Rate = _key("at its highest")
    questions: Shares = _key("mini task: share")


class Rewards(Closed):
    """Weights of the verifiable rewards."""

    answer: Annotated[float, Field(ge=0)] = _key("of a right answer")
    format: Annotated[float, Field(ge=0)] = _key("of <think>...</think><answer>...</answer>")


class Reinforced(Closed):
    """An RL trained here with GRPO, with a region or components frozen or none; defaults are the paper's (Appendix F).

    Its prompts are the mini study's `questions`, or a `prompt_file` of your own.
    """

    train: Literal["grpo"] = _key("`grpo`")
    start: Name = _key("the checkpoint it starts from", alias="from")
    frozen: Region | None = _key("`early`, `mid` or `late`: left out of the optimiser", default=None)
    frozen_components: list[Literal[hybrid_spec.REST]] = _key(
        f"left out of the optimiser too: {', '.join(f'`{name}`' for name in hybrid_spec.REST)}", default=[]
    )
    questions: Shares | None = _key("mini task: share", default=None)
    prompt_file: str | None = _key(
        "JSON lines of prompts with gold answers, images beside them: the fields of a study's `data/TASK.jsonl`, of which `grading` "
        "names the rule that rewards the answers (`choice`, `letters`, `number`, `typed`, `latex`)",
        default=None,
    )
    seed: int = _key("seed of its prompts and rollouts")
    steps: Count = _key("optimiser steps", default=2000)
    prompts_per_step: Count = _key("prompts per optimizer step", default=1)
    num_generations: Annotated[int, Field(ge=2)] = _key("rollouts per prompt", default=4)
    max_new_tokens: Count = _key("of a rollout", default=2048)
    learning_rate: Rate = _key("at its highest")
    temperature: Rate = _key("sampling temperature of the rollouts", default=1.0)
    beta: Annotated[float, Field(ge=0)] = _key("weight of the KL term", default=0.0)
    rewards: Rewards = _key("weights of the rewards")
    save_steps: Count | None = _key(
        "every so many steps the whole state is kept in `training/`, and a run that was stopped goes on from it; left out: never",
        default=None,
    )
    micro_batch: Count | None = _key(
        "with `prompt_file`: rollouts at once on a device; omit for all of a step", default=None
    )
    bf16: bool = _key(
        "with `prompt_file`: forward passes in bfloat16, with activation checkpointing; weights and optimiser are float32",
        default=False,
    )
    accelerate: str | None = _key(
        "with `prompt_file`: accelerate's configuration file, for several GPUs (data parallel, FSDP, DeepSpeed)",
        default=None,
    )
    gpus: Count = _key("how many GPUs the job asks for", default=1)


SOURCES = {"given": LocalCheckpoint, "hub": FromHub, "pretrain": Pretrained, "sft": Finetuned, "grpo": Reinforced}


def _kind(source: Any) -> str | None:
    if isinstance(source, dict):
        return "given" if "path" in source else "hub" if "hub" in source else source.get("train")
    return None


Source = Annotated[
    Annotated[LocalCheckpoint, Tag("given")]
    | Annotated[FromHub, Tag("hub")]
    | Annotated[Pretrained, Tag("pretrain")]
    | Annotated[Finetuned, Tag("sft")]
    | Annotated[Reinforced, Tag("grpo")],
    Discriminator(
        _kind,
        custom_error_type="source",
        custom_error_message="neither 'path' nor 'hub' nor one of train: pretrain, sft, grpo",
    ),
]


# What a study finds out: a rules file each, but for the tables' models, which are evaluation's.
CHAPTERS = ("evaluation", "merging", "freezing", "attention", "localization", "updates")


Chapters = Annotated[list[Literal[CHAPTERS]], Field(min_length=1)]


class Recipe(Closed):
    """One post-training recipe; several may share checkpoints, as two RL runs from one IN do."""

    base: Name | None = _key(
        "the Base, by checkpoint name; without one there is neither localization nor updates", default=None
    )
    instruct: Name = _key("the IN", alias="in")
    rl: Name = _key("the RL")
    frozen: dict[Region, Name] = _key(
        "region: the RL checkpoint that was trained with it frozen (left out: no Table 3)", default={}
    )
    retrained: Name | None = _key(
        "the IN trained once more with another seed: what RL changes is set beside what a seed changes", default=None
    )
    system_prompt: str = _key("that of IN, RL, the hybrids and the frozen runs")
    chat_template_from: Name | None = _key(
        "which of the recipe's checkpoints lends its chat template to IN, RL, the hybrids and the frozen runs (and to their "
        "training here); left out: each uses its own, and one that renders otherwise than IN's is an error",
        default=None,
    )
    chapters: Chapters | None = _key("of this recipe, if not the study's", default=None)


class Regions(Closed):
    cuts: tuple[Count, Count] = _key("first layer (0-based) of Mid and of Late")


class Abilities(Closed):
    """Which task stands for each ability of the paper's Table 1."""

    vision: Task = _key("M_vis: right with the image, not right with a black one")
    vision_to_reasoning: Task = _key("M_v2r: right with the image, and with a description in its place")
    reasoning: Task = _key("M_rea: right from text")


class Public(Closed):
    """A task made of a public benchmark: of local files, or of the Hub's at a pinned revision."""

    benchmark: Literal[tuple(BENCHMARKS)] = _key(
        f"one of {', '.join(f'`{name}`' for name in BENCHMARKS)}: how its rows are read and graded"
    )
    path: str | None = _key(
        "a file of it as published (`.parquet`, `.jsonl`, or `.json` with its images beside it); left out: from the Hub",
        default=None,
    )
    repo: str | None = _key("the Hub's dataset, if not the benchmark's own", default=None)
    revision: str | None = _key(
        "its commit, if not the one known to us (`workflow/frankenstein/data/benchmarks/`)", default=None
    )
    split: str | None = _key("`testmini` or `test`, where there are several", default=None)
    category: str | None = _key(
        "rows of this category only: MathVista's `category`, MathVerse's problem version (`Vision Only`), "
        "MathVision's and MATH-500's subject, LogicVista's skill",
        default=None,
    )
    sample: Count | None = _key(
        "so many rows, drawn as in the paper (`RandomState(seed).choice` without replacement, sorted); left out: all",
        default=None,
    )
    instruction: str = _key("text before each question", default="")
    wording: Literal["plain", "published"] = _key(
        "`plain`: the question and its lettered choices; `published`: the benchmark's own query where it has one "
        "(MathVista with its hint, MathVerse's `query_cot`)",
        default="plain",
    )


class Endpoint(Closed):
    """An OpenAI-compatible endpoint."""

    url: str = _key("such as `https://api.openai.com/v1`")
    model: str = _key("its name there")
    key_env: str = _key(
        "the environment variable that holds the key, which is read from nowhere else", default="OPENAI_API_KEY"
    )


class Descriptions(Closed):
    """Where the descriptions of M_v2r come from, for tasks that have none: exactly one of `file`, `checkpoint`, `endpoint`.

    An image without a description stays in N, ungraded.
    """

    file: str | None = _key(
        "JSON lines of `id` and `description`, or JSON texts by id, such as MathVista's captions", default=None
    )
    checkpoint: Name | None = _key("one of the study's checkpoints", default=None)
    endpoint: Endpoint | None = _key("an endpoint", default=None)
    prompt: str = _key(
        "what a model is asked",
        default="Describe this image in detail: every object, text, number, label, and how they lie to each other. "
        "Do not solve or answer anything.",
    )
    max_new_tokens: Count = _key("of a description", default=512)


class Judge(Closed):
    """What is asked about responses that rules leave ungraded: `checkpoint` or `endpoint`. Its verdicts go to `judged/`,

    and into `value_judged` beside the rules' `value`.
    """

    checkpoint: Name | None = _key("one of the study's checkpoints", default=None)
    endpoint: Endpoint | None = _key("an endpoint", default=None)
    max_new_tokens: Count = _key("of its verdict", default=16)


class Evaluation(Closed):
    examples: Annotated[int, Field(ge=2)] | None = _key("N a task of the mini study", default=None)
    shards: Count = _key("jobs a checkpoint's generation is cut into", default=1)
    batch: Count = _key("responses at once (greedy)", default=16)
    max_new_tokens: Count = _key("of a response", default=8192)
    engine: Literal["transformers", "vllm"] = _key(
        "`transformers`, or `vllm` (your own install; GPUs)", default="transformers"
    )
    max_pixels: Count | None = _key(
        "images with more are shrunk by the processor (left out: its own limit); all are at least 28 pixels a side",
        default=None,
    )
    shuffled_images: bool = _key(
        "ask the task of `abilities.vision` once more, each question about another example's image (for the table `vision`)",
        default=False,
    )
    benchmarks: Annotated[list[Task], Field(min_length=1)] = _key("tasks of Figure 2's average and Table 3's columns")


class Probes(Closed):
    functions: Annotated[list[Function], Field(min_length=1)] = _key(
        "vision functions to localize",
        default=list(tasks.FUNCTIONS),
    )
    source: Literal["mini", "published"] = _key(
        "`mini`: pairs of the mini study's world; `published`: the paper's own", default="mini"
    )
    path: str | None = _key(
        "with `published`: a folder that has them, `FUNCTION/data.jsonl` beside its images; left out: they are fetched from "
        "GitHub, at a commit",
        default=None,
    )
    pairs: Count = _key("probe pairs a function, the first so many of published ones", default=100)
    modes: Annotated[list[Literal[MODES]], Field(min_length=1)] = _key(
        "what is swapped, a panel of Figure 4 each: `hidden_state_at_layer` (the paper's: hidden states that enter layer l), "
        "`kv_from_layer` (what text reads of the image at all layers from l on: the same computation unless the model has "
        "DeepStack), `kv_at_layer_only` (at layer l alone: where the image is read)",
        default=["hidden_state_at_layer"],
    )
    unequal_images: Literal[UNEQUAL] = _key(
        "a source image of another size than the target's: `resize` it, or `interpolate` its hidden states "
        "(only for `hidden_state_at_layer`)",
        default="resize",
    )
    skip_tasks: Annotated[list[Task], Field(min_length=1)] | None = _key(
        "text tasks on which layers are skipped (left out: that of `abilities.reasoning`)", default=None
    )
    skip_examples: Count = _key("examples a task for layer skipping", default=100)
    attention_examples: Count = _key("examples for attention", default=100)
    shards: Count = _key("jobs a probe of a checkpoint is cut into", default=1)
    memory_mb: Count = _key(
        "megabytes of KV cache and activations that a batch may take, weights not counted; sets how many examples share one",
        default=8000,
    )
    max_new_tokens: Count = _key("of the probes' generation", default=128)


class Updates(Closed):
    shards: Count = _key("jobs the weight matrices of a recipe are cut into; one thread each", default=1)


class Merging(Closed):
    rest_from: str | dict[str, str] = _key(
        "which donor a hybrid takes what is in no decoder layer from: `early` (that of its Early layers, as the public "
        "script does), `in`, `rl`, `base`; or each part by name (`vision_tower`, `projector`, `embeddings`, `final_norm`, "
        "`head`), what is left out being `early`",
        default=hybrid_spec.EARLY,
    )
    layout: Literal[hybrid_spec.LAYOUTS] = _key(
        "`copy`: a hybrid is as large as a parent; `link`: each parent is written once more, a file a layer, and "
        "hybrids are hard links to these, which takes next to no disk however many there are (`disk_mb` in the dry run)",
        default="copy",
    )
    keep: bool = _key("`false`: a hybrid is deleted once its responses are made", default=True)
    hybrids: dict[Name, str] = _key("hybrids beside the paper's six, name: specification (above)", default={})


class Study(Closed):
    """A whole study."""

    study: Name = _key("name; everything goes to `results/{study}/`")
    seed: int = _key("of datasets, samples, probe pairs and bootstraps", default=123)
    chapters: Chapters = _key(
        "what is found out: `evaluation` (Figure 2), `merging` (Table 2), `freezing` (Table 3), `attention` (Figure 3), "
        "`localization` (Figure 4), `updates` (Figures 5 and 6); only what these need is run",
        default=list(CHAPTERS),
    )
    base_system_prompt: str = _key("system prompt under which a Base is asked; empty for none", default="")
    regions: Regions = _key("Early, Mid and Late")
    merging: Merging = _key("hybrids", default=Merging())
    checkpoints: dict[Name, Source] = _key("name: where a checkpoint comes from")
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)] = _key("name: which checkpoints belong together")
    datasets: dict[Task, Public] = _key("name: a task made of a public benchmark", default={})
    abilities: Abilities = _key("the tasks of the three metrics")
    descriptions: Descriptions | None = _key("of images, for M_v2r", default=None)
    evaluation: Evaluation = _key("how questions are asked")
    judge: Judge | None = _key("of what the rules leave ungraded; left out: nobody", default=None)
    probes: Probes = _key("swapping, skipping and attention", default=Probes())
    updates: Updates = _key("analysis of the weights", default=Updates())
    claims: list[str] = _key(
        "files of claims to test (`workflow/claims/paper.yaml` says how they are written)",
        default=["workflow/claims/paper.yaml"],
    )

    def sources(self, kind: str) -> list[str]:
        """Names of the checkpoints that come to be in one way: given, pretrain, sft or grpo."""
        return [name for name, source in self.checkpoints.items() if isinstance(source, SOURCES[kind])]

    def of(self, *chapters: str) -> list[str]:
        """Recipes that have one of these chapters; one without a Base has neither localization nor updates."""
        return [
            name
            for name, recipe in self.recipes.items()
            if any(
                chapter in (recipe.chapters or self.chapters)
                and (chapter != "freezing" or recipe.frozen)
                and (chapter not in ("localization", "updates") or recipe.base)
                for chapter in chapters
            )
        ]

    def evaluated(self) -> list[str]:
        """Recipes whose checkpoints answer questions."""
        return self.of("evaluation", "merging", "freezing")

    def skip_tasks(self) -> list[str]:
        """Text tasks on which layers are skipped (paper, Section 3.1)."""
        return self.probes.skip_tasks or [self.abilities.reasoning]

    def hybrids(self, recipe: str) -> dict[str, str]:
        """Checkpoint name of each hybrid of a recipe: "IN:RL:RL" -> "one.IN-RL-RL", the study's own by their names."""
        paper = {spec: f"{recipe}.{spec.replace(':', '-')}" for spec in hybrid_spec.HYBRIDS}
        return paper | {name: f"{recipe}.{name}" for name in self.merging.hybrids}

    def assignment(self, hybrid: str) -> tuple[str, tuple[int, ...] | None]:
        """(spec, cuts) of a hybrid by its name in file names: "IN-RL-RL" -> ("IN:RL:RL", the study's cuts)."""
        spec = self.merging.hybrids.get(hybrid) or hybrid.replace("-", ":")
        return spec, self.regions.cuts if spec.split("+")[0].count(":") == len(self.regions.cuts) else None

    def doses(self) -> dict[str, dict[str, float]]:
        """Hybrids that are steps on one way from IN: where it ends ("IN:RL:RL", of IN:0.25:0.25) -> {role: share of RL}, in order.

        IN and RL are its ends only where what lies in no layer goes the same way.
        """
        families: dict[str, dict[str, float]] = {}
        for name, spec in self.merging.hybrids.items():
            fields = spec.split(":")
            try:
                shares = {float(field) for field in fields if field != "IN"}
            except ValueError:
                continue
            if len(fields) == 3 and len(shares) == 1:
                end = ":".join("IN" if field == "IN" else "RL" for field in fields)
                families.setdefault(end, {})[name] = shares.pop()
        rest = self.merging.rest_from
        for end, family in families.items():
            if rest in (hybrid_spec.EARLY, "in"):
                family["IN"] = 0.0
            if end in hybrid_spec.HYBRIDS:
                family[end] = 1.0
            elif rest in (hybrid_spec.EARLY, "rl"):
                family["RL"] = 1.0
        return {
            end: dict(sorted(family.items(), key=lambda step: step[1]))
            for end, family in families.items()
            if len(set(family.values())) > 1
        }

    def donors(self, hybrid: str) -> list[str]:
        """Which of IN, RL and BASE give something to a hybrid."""
        spec, _ = self.assignment(hybrid)
        # Layers and cuts are checked when they are known; these are more layers than any model has.
        return hybrid_spec.Assignment.parse(spec, layers=10**6, rest_from=self.merging.rest_from).donors

    def prompted_by(self, checkpoint: str) -> list[str]:
        """Recipes under whose prompt a checkpoint is asked: those that it is in, but as their Base."""
        if "." in checkpoint:
            return [checkpoint.split(".")[0]]
        return [
            name
            for name, recipe in self.recipes.items()
            if checkpoint in (recipe.instruct, recipe.retrained, recipe.rl, *recipe.frozen.values())
        ]

    def system_prompt(self, checkpoint: str) -> str:
        """The system prompt that a checkpoint is trained and asked under: its recipe's; none of its own for a Base."""
        recipes = self.prompted_by(checkpoint)
        return self.recipes[recipes[0]].system_prompt if recipes else self.base_system_prompt

    def template_from(self, recipe: str) -> str:
        """The checkpoint whose chat template renders a recipe's prompts: the one that is named, or else its IN."""
        return self.recipes[recipe].chat_template_from or self.recipes[recipe].instruct

    def untrained(self, checkpoint: str) -> str:
        """The checkpoint that training here began with: a trained one has its tokenizer and chat template from there."""
        while start := getattr(self.checkpoints[checkpoint], "start", None):
            checkpoint = start
        return checkpoint

    def system_prompts(self) -> list[str]:
        """Every system prompt of the study, once."""
        prompts = {self.base_system_prompt, *(recipe.system_prompt for recipe in self.recipes.values())}
        return sorted(prompts - {""})

    def tasks(self) -> list[str]:
        """Every task that is evaluated."""
        return list(dict.fromkeys([*self.abilities.model_dump().values(), *self.evaluation.benchmarks]))

    def datasets_needed(self) -> list[str]:
        """Every task that is evaluated or probed."""
        return list(dict.fromkeys([*self.tasks(), *self.skip_tasks()]))

    def has_image(self, task: str) -> bool:
        if task in self.datasets:
            return BENCHMARKS[self.datasets[task].benchmark].has_image
        return task != questions.TEXT_TASK

    def conditions(self, task: str) -> list[str]:
        """The conditions that a task is answered in."""
        found = metrics.conditions(task, self.abilities.model_dump(), self.has_image(task))
        shuffled = self.evaluation.shuffled_images and task == self.abilities.vision
        return [*found, metrics.SHUFFLED] if shuffled else found

    def described(self) -> list[str]:
        """Tasks that are answered with a description in place of the image, and come without one."""
        return [task for task in self.tasks() if task in self.datasets and "described" in self.conditions(task)]

    def from_hub(self, task: str) -> dict[str, str | None]:
        """repo, revision and pattern of a public task's files on the Hub."""
        dataset = self.datasets[task]
        source = BENCHMARKS[dataset.benchmark]
        repo = dataset.repo or source.repo
        known = source.revision if repo == source.repo else None
        split = dataset.split or next(iter(source.files))
        return {"repo": repo, "revision": dataset.revision or known, "pattern": source.files[split]}
