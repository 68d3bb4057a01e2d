"""Inference engines: a checkpoint through transformers (the default) or vLLM, or an OpenAI-compatible endpoint.

An engine that takes batches is called with a list of prompts.Prompt and returns one greedy generation.Response for each;
`prepare()` loads its weights. One that streams has `stream` instead, which takes an iterable of prompts and yields (number
of the prompt, response or exception) as they finish; its `prepare` takes what is to be asked (vllm_engine.Vllm.prepare).
Neither is prepared by a job whose answers are all cached. `turn_to` makes an engine answer as another checkpoint.
`version` names the software its answers depend on besides the checkpoint. `template`: a chat template that replaces the
checkpoint's own.
"""

from __future__ import annotations

import base64
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path

from ..core.errors import InputError
from .cache import model_digest, versions
from .generation import Response, generate
from .prompts import Prompt
from .vllm_engine import Vllm


class Transformers:
    """A checkpoint through transformers, on all GPUs that this process sees (a layer is on one of them), or the CPU."""

    def __init__(
        self, directory: Path, max_new_tokens: int, max_pixels: int | None = None, template: str | None = None
    ):
        self.max_new_tokens, self.max_pixels = max_new_tokens, max_pixels
        self.turn_to(directory, template)

    def turn_to(self, directory: Path, template: str | None = None, weights=None) -> None:
        """Answer as another checkpoint from the next `prepare` on. weights: a merging.memory.Hybrid, in place of the directory's."""
        self.directory, self.template, self.weights = Path(directory), template, weights
        self.__dict__.pop("loaded", None)  # before the next one is loaded: both may not fit

    @cached_property
    def loaded(self):
        from ..models import gpu, loading

        state_dict = self.weights.state_dict() if self.weights else None
        return loading.load_model(
            self.directory,
            max_pixels=self.max_pixels,
            template=self.template,
            state_dict=state_dict,
            gpus=max(1, gpu.count()),
        )

    def prepare(self) -> None:
        _ = self.loaded

    @property
    def version(self) -> str:
        return versions("torch", "transformers")

    def __call__(self, prompts: list[Prompt]) -> list[Response]:
        return generate(*self.loaded, prompts, self.max_new_tokens)


class Endpoint:
    """A model behind an OpenAI-compatible chat endpoint, local or not. The API key is read only from an environment variable.

    parallel: requests in flight; key_env: None for a server that wants no key.
    """

    def __init__(
        self, url: str, model: str, key_env: str | None, max_new_tokens: int, parallel: int = 4, retries: int = 5
    ):
        self.url, self.model, self.key_env = url, model, key_env
        self.max_new_tokens, self.parallel, self.retries = max_new_tokens, parallel, retries

    @property
    def version(self) -> str:
        return f"{self.model} at {self.url}"

    @cached_property
    def client(self):
        try:
            from openai import OpenAI
        except ImportError:
            raise InputError('an endpoint needs the package openai: pip install "frankenstein-vlm[api]"') from None
        if self.key_env and self.key_env not in os.environ:
            raise InputError(f"the environment variable {self.key_env} is not set: the key of {self.url}")
        # A long response may take a busy server minutes; one that is gone refuses at once.
        return OpenAI(base_url=self.url, api_key=self._key, max_retries=self.retries, timeout=1800)

    @property
    def _key(self) -> str:
        return os.environ[self.key_env] if self.key_env else "none"

    def _one(self, prompt: Prompt) -> Response | Exception:
        from openai import OpenAIError

        content: list[dict] = [{"type": "text", "text": prompt.text}]
        if prompt.image is not None:
            png = io.BytesIO()
            prompt.image.save(png, "PNG")
            url = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
            content.insert(0, {"type": "image_url", "image_url": {"url": url}})
        messages: list[dict] = [{"role": "user", "content": content}]
        if prompt.system:
            messages.insert(0, {"role": "system", "content": prompt.system})
        try:
            made = self.client.chat.completions.create(
                model=self.model, messages=messages, temperature=0, max_tokens=self.max_new_tokens, seed=0
            )
            choice = made.choices[0]
            if choice.finish_reason not in ("stop", "length"):
                return RuntimeError(f"{self.url}: the response ended with {choice.finish_reason!r}")
            text = (choice.message.content or "").strip()
            return Response(text, None, choice.finish_reason == "length", made.usage and made.usage.completion_tokens)
        except OpenAIError as error:
            # A server's error message may quote the key.
            return RuntimeError(f"{self.url}: {str(error).replace(self._key, '***')}")
        except (TypeError, AttributeError, LookupError) as error:
            return RuntimeError(f"{self.url}: no chat completion in the answer ({type(error).__name__})")

    def prepare(self, asked=(), system: str = "") -> None:
        _ = self.client

    def stream(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Response | Exception]]:
        numbered, waiting = enumerate(prompts), {}
        with ThreadPoolExecutor(self.parallel) as pool:
            while True:
                for number, prompt in itertools.islice(numbered, self.parallel - len(waiting)):
                    waiting[pool.submit(self._one, prompt)] = number
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()


LOCAL = {"transformers": Transformers, "vllm": Vllm}


def helper(by: dict, manifest: str | None, engine: str, max_pixels: int | None = None):
    """(engine, settings) from config.Descriptions or config.Judge as plain data: checkpoint (by manifest) or endpoint."""
    limits = {"max_new_tokens": by["max_new_tokens"]}
    if by["endpoint"]:
        settings = {key: by["endpoint"][key] for key in ("url", "model")}
        return Endpoint(**by["endpoint"], **limits), settings | limits
    from ..models import manifests

    made = LOCAL[engine](manifests.directory_of(manifest), by["max_new_tokens"], max_pixels)
    return made, {"model": model_digest(manifest), "engine": made.version, "max_pixels": max_pixels, **limits}
