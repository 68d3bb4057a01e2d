"""The keys of a study's configuration (config/README.md is made of them), and what they come to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag, field_validator

from ..core import regions
from ..core.roles import NULL_HYBRID, Run
from ..data import metrics, paper_tasks, tasks
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


Slips = dict[Literal[questions.SLIPS], Annotated[float, Field(ge=0, le=1)]]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _key(what: str, **options) -> Any:
    """A key with its line in config/README.md, which is made of these (configdoc)."""
    return Field(description=what, **options)


class Shape(Closed):
    """Model dimensions of the mini study's Qwen2.5-VL."""

    hidden_size: Count = _key("hidden size of the decoder (residual-stream width)")
    intermediate_size: Count = _key("intermediate size of the decoder's MLPs")
    layers: Count = _key("number of decoder layers")
    heads: Count = _key("number of attention heads")
    kv_heads: Count = _key("number of key-value heads (grouped-query attention)")
    vision_hidden_size: Count = _key("hidden size of the vision tower")
    vision_layers: Count = _key("number of vision-tower blocks")
    vocab_size: Annotated[int, Field(ge=300)] = _key(
        "vocabulary size of the tokenizer, which is trained alongside the model"
    )
    initializer_range: Rate = _key("standard deviation of the weight initialization")


class Stage(Closed):
    """A stage of the pretraining curriculum."""

    share: Annotated[float, Field(gt=0, le=1)] = _key(
        "fraction of the training steps spent in this stage; the stages' shares must sum to 1"
    )
    explained: Annotated[float, Field(ge=0, le=1)] | dict[MiniTask, Annotated[float, Field(ge=0, le=1)]] = _key(
        "fraction of samples whose prompt asks for worked steps before the answer; one for all tasks, or as `task: fraction`",
        default=0.0,
    )
    questions: Shares = _key("sampling weights of the mini-study tasks, as `task: weight`")


class LocalCheckpoint(Closed):
    """An existing checkpoint on disk."""

    path: str = _key(
        "Hugging Face checkpoint directory (safetensors, config, tokenizer, processor); read in place, never modified"
    )


class FromHub(Closed):
    """A checkpoint on the Hub, downloaded to the Hub cache (`HF_HOME`) and verified against the Hub's hashes."""

    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] = _key("Hub repository ID, `owner/name`")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = _key(
        "full commit hash of the Hub repository; if omitted, `frankenstein pin CONFIG` fills in the current one",
        default=None,
    )
    parameters: Annotated[float, Field(gt=0)] | None = _key(
        "parameter count (such as `8.29e9`), used to request job resources and to plan; `pin` fills it in too",
        default=None,
    )


class Vision(Closed):
    """Pretraining of the vision encoder, before the language model learns to use it."""

    steps: Count = _key("number of optimizer steps")
    learning_rate: Rate = _key("peak learning rate")


class Pretrained(Closed):
    """A Base for the mini study, pretrained by the workflow from scratch."""

    train: Literal["pretrain"] = _key("training method: `pretrain`")
    seed: int = _key("random seed of its weights and samples")
    model: Shape = _key("model dimensions")
    vision: Vision = _key("pretraining of the vision encoder: it names what each vision token shows")
    steps: Count = _key("number of optimizer steps")
    batch: Count = _key("batch size: samples per optimizer step")
    learning_rate: Rate = _key("peak learning rate")
    curriculum: Annotated[list[Stage], Field(min_length=1)] = _key("curriculum stages, in training order")


class Finetuned(Closed):
    """An IN trained by the workflow: supervised fine-tuning (SFT) on chains of thought."""

    train: Literal["sft"] = _key("training method: `sft`")
    start: Name = _key("name of the checkpoint to start training from", alias="from")
    seed: int = _key("random seed of its training samples")
    steps: Count = _key("number of optimizer steps")
    batch: Count = _key("batch size: samples per optimizer step")
    learning_rate: Rate = _key("peak learning rate")
    questions: Shares = _key("sampling weights of the mini-study tasks, as `task: weight`")
    slips: Slips = _key(
        "share of a task's samples in which the teacher errs, as distilled data does: in `math_vqa`, `times` is done as addition; "
        "in `text_math`, the first subtraction is one too high (chain and answer agree; samples with neither stay right)",
        default={},
    )


class Rewards(Closed):
    """Weights of the verifiable rewards in the total reward."""

    answer: Annotated[float, Field(ge=0)] = _key("weight of the correct-answer reward")
    format: Annotated[float, Field(ge=0)] = _key(
        "weight of the format reward, for `<think>...</think><answer>...</answer>`"
    )


class Reinforced(Closed):
    """An RL trained by the workflow with GRPO, optionally with a region or components frozen.

    Defaults are the paper's (Appendix F). Prompts are the mini study's `questions` or your own `prompt_file`.
    """

    train: Literal["grpo"] = _key("training method: `grpo`")
    start: Name = _key("name of the checkpoint to start training from", alias="from")
    frozen: Region | None = _key(
        "region to freeze (excluded from the optimizer): `early`, `mid` or `late`; omit for none", default=None
    )
    frozen_components: list[Literal[hybrid_spec.REST]] = _key(
        f"model components to freeze as well, from {', '.join(f'`{name}`' for name in hybrid_spec.REST)}", default=[]
    )
    questions: Shares | None = _key("sampling weights of the mini-study tasks, as `task: weight`", default=None)
    prompt_file: str | None = _key(
        "JSON Lines file of prompts with gold answers, with its images alongside; same fields as a study's `data/TASK.jsonl`, "
        "where `grading` names the rule used as the answer reward (`choice`, `letters`, `number`, `typed`, `latex`)",
        default=None,
    )
    seed: int = _key("random seed of its prompts and rollouts")
    steps: Count = _key("number of optimizer steps", default=2000)
    prompts_per_step: Count = _key("prompts per optimizer step", default=1)
    num_generations: Annotated[int, Field(ge=2)] = _key("rollouts per prompt (the GRPO group size)", default=4)
    max_new_tokens: Count = _key("maximum new tokens per rollout", default=2048)
    learning_rate: Rate = _key("peak learning rate")
    temperature: Rate = _key("sampling temperature for rollouts", default=1.0)
    beta: Annotated[float, Field(ge=0)] = _key("KL coefficient; 0 disables the KL penalty", default=0.0)
    rewards: Rewards = _key("weights of the rewards")
    save_steps: Count | None = _key(
        "interval, in optimizer steps, between saves of the full training state to `training/`, from which an interrupted run "
        "resumes; omit to save none",
        default=None,
    )
    micro_batch: Count | None = _key(
        "with `prompt_file`: rollouts per device per forward-backward pass, with gradient accumulation over the rest of a "
        "step; omit to process the whole step at once",
        default=None,
    )
    bf16: bool = _key(
        "with `prompt_file`: bfloat16 forward passes with activation checkpointing; weights and optimizer states stay in float32",
        default=False,
    )
    accelerate: str | None = _key(
        "with `prompt_file`: path of an accelerate config file for multi-GPU training (data parallel, FSDP, DeepSpeed), such as `docs/accelerate/fsdp2.yaml`",
        default=None,
    )
    vllm_gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] | None = _key(
        "with `prompt_file`: vLLM makes the rollouts, in the training processes (TRL's colocate mode), with this share of each GPU's "
        "memory; omit to make them with transformers",
        default=None,
    )
    gpus: Count = _key("number of GPUs the training job requests", default=1)


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


class RunOf(Closed):
    """One training run of a recipe with several; a key left out is the recipe's own."""

    instruct: Name | None = _key("checkpoint name of this run's IN", alias="in", default=None)
    rl: Name | None = _key("checkpoint name of this run's RL", default=None)
    frozen: dict[Region, Name] | None = _key(
        "this run's RL checkpoints with one region frozen, as `region: checkpoint`", default=None
    )
    retrained: Name | None = _key(
        "checkpoint name of an IN of another seed; if omitted, the IN of the recipe's next run, if it is another one",
        default=None,
    )


Runs = Annotated[
    Annotated[Count, Tag("number")] | Annotated[list[RunOf], Tag("list"), Field(min_length=1)],
    Discriminator(lambda runs: "list" if isinstance(runs, list) else "number"),
]


class Recipe(Closed):
    """One post-training recipe; recipes may share checkpoints, such as two RL runs from the same IN."""

    base: Name | None = _key(
        "checkpoint name of the Base; without it, the chapters localization and updates are skipped", default=None
    )
    instruct: Name | None = _key(
        "checkpoint name of the IN; may be omitted if every one of `runs` has its own", alias="in", default=None
    )
    rl: Name | None = _key("checkpoint name of the RL; may be omitted if every one of `runs` has its own", default=None)
    frozen: dict[Region, Name] = _key(
        "RL checkpoints trained with one region frozen, as `region: checkpoint`; omit to skip Table 3", default={}
    )
    retrained: Name | None = _key(
        "checkpoint name of the IN retrained with another seed: the seed-to-seed baseline for RL's effects",
        default=None,
    )
    runs: Runs = _key(
        "independent training runs, over which claims about RL are tested. A list gives the checkpoints of each run. A number "
        "is for checkpoints that the study trains: run 2 trains copies of the recipe's IN, RL and frozen RL, called "
        "`CHECKPOINT-2`, with their seeds raised by 1,000, and so on; an IN that is given (`path` or `hub`) is shared by all runs",
        default=1,
    )
    system_prompt: str = _key("system prompt of IN, RL, the hybrids and the frozen runs")
    chat_template_from: Name | None = _key(
        "checkpoint of this recipe whose chat template is used for IN, RL, the hybrids and the frozen runs, in evaluation "
        "and in training by the workflow; if omitted, each uses its own, and any that renders differently from IN's is an error",
        default=None,
    )
    chapters: Chapters | None = _key("chapters to run for this recipe, overriding the study's `chapters`", default=None)


class Regions(Closed):
    cuts: tuple[Count, Count] = _key("first layers (0-based) of Mid and of Late")
    also: list[tuple[Count, Count]] = _key(
        "other cuts, for the table `sensitivity`: `[[8, 20]]` is the paper's public script's, which differ from its text",
        default=[],
    )


class Abilities(Closed):
    """The task that measures each ability of the paper's Table 1."""

    vision: Task = _key(
        "task for M_vis: correct with the image and not with a black image", default=paper_tasks.ABILITIES["vision"]
    )
    vision_to_reasoning: Task = _key(
        "task for M_v2r: correct with the image and also with a text description in its place",
        default=paper_tasks.ABILITIES["vision_to_reasoning"],
    )
    reasoning: Task = _key("task for M_rea: correct from text alone", default=paper_tasks.ABILITIES["reasoning"])


class Public(Closed):
    """A task built from a public benchmark: from a local file, or from the Hub at a pinned revision."""

    benchmark: Literal[tuple(BENCHMARKS)] = _key(
        f"benchmark whose format and grading rules apply: one of {', '.join(f'`{name}`' for name in BENCHMARKS)}"
    )
    path: str | None = _key(
        "local file of the benchmark as published (`.parquet`, `.jsonl`, or `.json` with its images alongside); omit to download it "
        "from the Hub",
        default=None,
    )
    repo: str | None = _key("Hub dataset ID, if different from the benchmark's default", default=None)
    revision: str | None = _key(
        "dataset commit hash, if different from the default (in `workflow/frankenstein/data/benchmarks/`)", default=None
    )
    split: str | None = _key("dataset split, `testmini` or `test`, if the benchmark has several", default=None)
    category: str | None = _key(
        "restrict to rows of one category: MathVista's `category`, MathVerse's problem version (`Vision Only`), "
        "MathVision's and MATH-500's subject, LogicVista's skill",
        default=None,
    )
    sample: Count | None = _key(
        "number of rows to sample, as in the paper (`RandomState(seed).choice` without replacement, sorted); omit for all rows",
        default=None,
    )
    instruction: str = _key("instruction text prepended to each question", default="")
    wording: Literal["plain", "published"] = _key(
        "prompt wording: `plain` for the question and its lettered choices, `published` for the benchmark's own query if it has one "
        "(MathVista with its hint, MathVerse's `query_cot`)",
        default="plain",
    )


class Endpoint(Closed):
    """An OpenAI-compatible endpoint."""

    url: str = _key("base URL, such as `https://api.openai.com/v1`")
    model: str = _key("model name at the endpoint")
    key_env: str = _key(
        "environment variable that holds the API key; the key is read from nowhere else", default="OPENAI_API_KEY"
    )


class Server(Closed):
    """An OpenAI-compatible server of one checkpoint. It renders the prompt itself: start it with the checkpoint's chat template."""

    url: str = _key("base URL, such as `http://localhost:8000/v1`")
    model: str = _key("model name at the server (`--served-model-name`)")
    key_env: str | None = _key(
        "environment variable that holds the API key; omit for a server that wants none", default=None
    )
    parallel: Count = _key("requests in flight at a time", default=32)


class Descriptions(Closed):
    """Source of the image descriptions for M_v2r, for tasks without them: exactly one of `file`, `checkpoint`, `endpoint`.

    An image without a description stays in N as ungraded.
    """

    file: str | None = _key(
        "JSON Lines file with `id` and `description`, or a JSON file mapping IDs to texts, such as MathVista's captions",
        default=None,
    )
    checkpoint: Name | None = _key("checkpoint of the study that writes the descriptions", default=None)
    endpoint: Endpoint | None = _key("OpenAI-compatible endpoint that writes the descriptions", default=None)
    prompt: str = _key(
        "prompt that asks the model for a description",
        default="Describe this image in detail: every object, text, number, label, and how they lie to each other. "
        "Do not solve or answer anything.",
    )
    max_new_tokens: Count = _key("maximum new tokens per description", default=512)


class Judge(Closed):
    """Judge for responses that the rules leave ungraded: one of `checkpoint`, `endpoint`.

    Its verdicts go to `judged/` and into `value_judged`, alongside the rule-based `value`.
    """

    checkpoint: Name | None = _key("checkpoint of the study used as the judge", default=None)
    endpoint: Endpoint | None = _key("OpenAI-compatible endpoint used as the judge", default=None)
    max_new_tokens: Count = _key("maximum new tokens per verdict", default=16)


class Evaluation(Closed):
    examples: Annotated[int, Field(ge=2)] | None = _key("number of examples (N) per mini-study task", default=None)
    shards: Count = _key("number of jobs that each checkpoint's generation is split into", default=1)
    batch: Count = _key("generation batch size (decoding is greedy)", default=16)
    max_new_tokens: Count = _key("maximum new tokens per response", default=8192)
    engine: Literal["transformers", "vllm"] = _key(
        "inference engine: `transformers`, or `vllm` (several times as fast on a GPU; docs/clusters.md has the line that installs it)",
        default="transformers",
    )
    gpus: Count = _key(
        "GPUs per generation job, one model on all of them: with `vllm` each layer (tensor parallel), with `transformers` some "
        "layers on each; `frankenstein plan` says how many a checkpoint needs",
        default=1,
    )
    servers: dict[str, Server] = _key(
        "OpenAI-compatible servers (`vllm serve`, SGLang, an API) that answer for checkpoints, as `checkpoint: server`, hybrids by "
        "the names of their files (`one.IN-RL-RL`); the others are answered for by `engine`",
        default={},
    )
    max_pixels: Count | None = _key(
        "pixel limit above which the processor downscales an image; omit for the processor's own limit (images are always at "
        "least 28 pixels per side)",
        default=None,
    )
    shuffled_images: bool = _key(
        "also run the `abilities.vision` task with each question paired with another example's image (for the table `vision`)",
        default=False,
    )
    benchmarks: Annotated[list[Task], Field(min_length=1)] = _key(
        "tasks averaged in Figure 2 and shown as columns of Table 3", default=paper_tasks.BENCHMARKS
    )


class Probes(Closed):
    functions: Annotated[list[Function], Field(min_length=1)] = _key(
        "vision functions to localize",
        default=list(tasks.FUNCTIONS),
    )
    source: Literal["mini", "published"] = _key(
        "probe pairs: `mini` for the mini study's generated world, `published` for the paper's own", default="mini"
    )
    path: str | None = _key(
        "with `published`: folder that holds the pairs, as `FUNCTION/data.jsonl` next to its images; omit to download them from "
        "GitHub at a pinned commit",
        default=None,
    )
    pairs: Count = _key("number of probe pairs per function; of published pairs, the first ones", default=100)
    modes: Annotated[list[Literal[MODES]], Field(min_length=1)] = _key(
        "swap modes, one panel of Figure 4 each: `hidden_state_at_layer` (the paper's: the vision tokens' hidden states entering "
        "layer l), `kv_from_layer` (the vision tokens' keys and values that text attends to at layers l and above; equivalent "
        "to the first unless the model has DeepStack), `kv_at_layer_only` (the same at layer l alone: where the image is read)",
        default=["hidden_state_at_layer"],
    )
    unequal_images: Literal[UNEQUAL] = _key(
        "handling of a source image whose size differs from the target's: `resize` the image, or `interpolate` its hidden states "
        "(`hidden_state_at_layer` only)",
        default="resize",
    )
    skip_tasks: Annotated[list[Task], Field(min_length=1)] | None = _key(
        "text tasks for layer skipping; omit for the `abilities.reasoning` task", default=None
    )
    skip_examples: Count = _key("number of examples per task for layer skipping", default=100)
    attention_examples: Count = _key("number of examples for the attention analysis", default=100)
    shards: Count = _key("number of jobs that each probe of a checkpoint is split into", default=1)
    gpus: Count = _key("GPUs per probe job, with some layers on each, for a model that is too large for one", default=1)
    memory_mb: Count = _key(
        "memory limit per batch in MB, for KV cache and activations (excluding weights); determines the batch size",
        default=8000,
    )
    max_new_tokens: Count = _key("maximum new tokens per answer in the probes", default=128)


class Updates(Closed):
    shards: Count = _key("number of single-threaded jobs that each recipe's weight matrices are split into", default=1)


class Training(Closed):
    report_to: Literal["trackio", "wandb"] | None = _key(
        "experiment tracker that RL's trainer also logs to, if it is installed where the training runs: `trackio` (local, unless "
        "`TRACKIO_SPACE_ID` is set) or `wandb` (by `WANDB_PROJECT`, `WANDB_MODE`); omit for none. Changes no result",
        default=None,
    )


class Merging(Closed):
    rest_from: str | dict[str, str] = _key(
        "donor of all weights outside the decoder layers: `early` (the donor of the hybrid's Early layers, as in the paper's "
        "public script), `in`, `rl` or `base`; or one donor per component (`vision_tower`, `projector`, `embeddings`, "
        "`final_norm`, `head`), with `early` for those not listed",
        default=hybrid_spec.EARLY,
    )
    layout: Literal[hybrid_spec.LAYOUTS] = _key(
        "on-disk layout of hybrids: `copy` makes each as large as a parent; `link` re-shards each parent once, one file per "
        "layer, and makes hybrids hard links to these shards, so that any number takes almost no disk (`disk_mb` in the dry run)",
        default="copy",
    )
    keep: bool = _key(
        "whether to write the hybrids to disk; if not, a run's hybrids are merged in memory and answer in one job, one after the "
        "other (with vLLM in one engine, whose weights are swapped)",
        default=True,
    )
    benchmarks: list[Task] = _key(
        "tasks of `evaluation.benchmarks` that hybrids answer as well as those of `abilities`, which are all that Table 2 and the "
        "claims need of them",
        default=[],
    )
    hybrids: dict[Name, str] = _key(
        "hybrids in addition to the paper's six, as `name: specification` (notation above)", default={}
    )


class Study(Closed):
    """The top-level keys of a study."""

    study: Name = _key("name of the study; all outputs go to `results/{study}/`")
    seed: int = _key("random seed of datasets, samples, probe pairs and random partitions of layers", default=123)
    chapters: Chapters = _key(
        "analyses to run: `evaluation` (Figure 2), `merging` (Table 2), `freezing` (Table 3), `attention` (Figure 3), "
        "`localization` (Figure 4), `updates` (Figures 5 and 6); only the jobs these need are run",
        default=list(CHAPTERS),
    )
    base_system_prompt: str = _key("system prompt of the Base; empty for none", default="")
    regions: Regions = _key("boundaries of the Early, Mid and Late layer regions")
    merging: Merging = _key("settings of the hybrids", default=Merging())
    checkpoints: dict[Name, Source] = _key("the study's checkpoints, as `name: source`")
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)] = _key(
        "post-training recipes, as `name: recipe`: which checkpoints belong together"
    )
    datasets: dict[Task, Public] = _key(
        "tasks built from public benchmarks, as `name: task`, in addition to the paper's (or in place of one of the same name): "
        f"{', '.join(f'`{name}`' for name in paper_tasks.TASKS)} (`workflow/frankenstein/data/paper_tasks.py`)",
        default={},
        validate_default=True,
    )
    abilities: Abilities = _key("tasks behind the metrics M_vis, M_v2r and M_rea", default=Abilities())
    descriptions: Descriptions | None = _key("source of the image descriptions for M_v2r", default=None)
    evaluation: Evaluation = _key("generation and evaluation settings", default=Evaluation())
    judge: Judge | None = _key("model that judges responses the rules cannot grade; omit for none", default=None)
    probes: Probes = _key("settings of vision-token swapping, layer skipping and attention", default=Probes())
    updates: Updates = _key("settings of the weight-update analysis", default=Updates())
    training: Training = _key("settings of the training by the workflow", default=Training())
    claims: list[str] = _key(
        "files of claims to test (`workflow/claims/paper.yaml` documents the format)",
        default=["workflow/claims/paper.yaml"],
    )

    @field_validator("datasets")
    @classmethod
    def _with_the_papers(cls, given: dict[str, Public]) -> dict[str, Public]:
        return {name: Public(**keys) for name, keys in paper_tasks.TASKS.items()} | given

    # Run name -> the run. Set when runs are expanded (study.runs): `recipes` then has one entry per run, named after its
    # recipe for the first, RECIPE-2 for the second, and so on.
    _runs: dict[str, Run] = PrivateAttr(default={})

    @property
    def runs(self) -> dict[str, Run]:
        return self._runs

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

    def hybrids(self, run: str) -> dict[str, str]:
        """Checkpoint name of each hybrid of a run: "IN:RL:RL" -> "one.IN-RL-RL", the study's own by their names. If the run has an
        IN of another seed, also the merge with that in RL's place (roles.NULL_HYBRID)."""
        specs = [*hybrid_spec.HYBRIDS, *([NULL_HYBRID] if self.recipes[run].retrained else [])]
        paper = {spec: f"{run}.{spec.replace(':', '-')}" for spec in specs}
        return paper | {name: f"{run}.{name}" for name in self.merging.hybrids}

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
        """Which of IN, RL, BASE and SEED (the IN of another seed) give something to a hybrid."""
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

    def tasks_of(self, checkpoint: str) -> list[str]:
        """The tasks that a checkpoint is evaluated on: every task, but a hybrid's are the abilities' and `merging.benchmarks`."""
        asked = {*self.abilities.model_dump().values(), *self.merging.benchmarks}
        return [task for task in self.tasks() if "." not in checkpoint or task in asked]

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

    def asked(self, checkpoint: str) -> dict[str, list[str]]:
        """Task -> conditions that a checkpoint is asked it in, in the order of the tasks.

        A checkpoint that is not evaluated answers what attention over its responses needs alone.
        """
        if not self._evaluates(checkpoint):
            return {self.abilities.vision_to_reasoning: ["image"]}
        return {task: self.conditions(task) for task in self.tasks_of(checkpoint)}

    def _evaluates(self, checkpoint: str) -> bool:
        for run in self.evaluated():
            recipe = self.recipes[run]
            if checkpoint.partition(".")[0] == run and "." in checkpoint:
                return True
            frozen = recipe.frozen.values() if run in self.of("freezing") else ()
            if checkpoint in (recipe.base, recipe.instruct, recipe.retrained, recipe.rl, *frozen):
                return True
        return False

    def described(self) -> list[str]:
        """Tasks that are answered with a description in place of the image, and come without one. All are an ability's."""
        return [task for task in self.tasks() if task in self.datasets and "described" in self.conditions(task)]

    def from_hub(self, task: str) -> dict[str, str | None]:
        """repo, revision and pattern of a public task's files on the Hub."""
        dataset = self.datasets[task]
        source = BENCHMARKS[dataset.benchmark]
        repo = dataset.repo or source.repo
        known = source.revision if repo == source.repo else None
        split = dataset.split or next(iter(source.files))
        return {"repo": repo, "revision": dataset.revision or known, "pattern": source.files[split]}
