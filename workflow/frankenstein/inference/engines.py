"""Inference engines: a checkpoint through transformers (the default) or vLLM, or an OpenAI-compatible endpoint.

An engine is called with a list of prompts.Prompt and returns one greedy generation.Response for each; an endpoint may
return an exception instead of a response. `prepare` loads the weights or looks up the API key, and is not called by a
job whose answers are all cached. `version` names the software its answers depend on besides the checkpoint.
`template`: a chat template that replaces the checkpoint's own.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from ..core.errors import InputError
from .cache import model_digest, versions
from .generation import Response, generate
from .prompts import Prompt, render


class Transformers:
    """weights: returns a state dict in place of the directory's weights (a hybrid that is not on disk)."""

    def __init__(
        self,
        directory: Path,
        max_new_tokens: int,
        max_pixels: int | None = None,
        template: str | None = None,
        weights: Callable[[], dict] | None = None,
    ):
        self.directory, self.max_new_tokens, self.max_pixels = Path(directory), max_new_tokens, max_pixels
        self.template, self.weights = template, weights

    @cached_property
    def loaded(self):
        from ..models import loading

        state_dict = self.weights() if self.weights else None
        return loading.load_model(
            self.directory, max_pixels=self.max_pixels, template=self.template, state_dict=state_dict
        )

    def prepare(self) -> None:
        _ = self.loaded

    @property
    def version(self) -> str:
        return versions("torch", "transformers")

    def __call__(self, prompts: list[Prompt]) -> list[Response]:
        return generate(*self.loaded, prompts, self.max_new_tokens)


class Vllm:
    """The same prompts, rendered by the same chat template, through vLLM (which the user installs separately)."""

    def __init__(
        self, directory: Path, max_new_tokens: int, max_pixels: int | None = None, template: str | None = None
    ):
        self.directory, self.max_new_tokens, self.max_pixels = Path(directory), max_new_tokens, max_pixels
        self.template = template

    @cached_property
    def loaded(self):
        try:
            from vllm import LLM
        except ImportError:
            raise InputError(
                "evaluation.engine: vllm is not installed (pip install vllm), or use transformers"
            ) from None
        from transformers import AutoProcessor

        limits = {"mm_processor_kwargs": {"max_pixels": self.max_pixels}} if self.max_pixels else {}
        model = LLM(
            model=str(self.directory),
            load_format="safetensors",
            trust_remote_code=False,
            limit_mm_per_prompt={"image": 1},
            seed=0,
            **limits,
        )
        processor = AutoProcessor.from_pretrained(self.directory, local_files_only=True)
        if self.template:
            processor.chat_template = self.template
        return model, processor

    def prepare(self) -> None:
        _ = self.loaded

    @property
    def version(self) -> str:
        return versions("vllm")

    def __call__(self, prompts: list[Prompt]) -> list[Response]:
        model, processor = self.loaded
        from vllm import SamplingParams

        requests = []
        for prompt in prompts:
            request = {"prompt": render(processor, prompt)}
            if prompt.image is not None:
                request["multi_modal_data"] = {"image": prompt.image}
            requests.append(request)
        greedy = SamplingParams(temperature=0.0, max_tokens=self.max_new_tokens, repetition_penalty=1.0)
        responses = []
        for output in model.generate(requests, greedy, use_tqdm=False):
            best, stops = output.outputs[0], set(processor.tokenizer.all_special_ids)
            tokens = [token for token in best.token_ids if token not in stops]
            responses.append(Response(best.text.strip(), tokens, best.finish_reason == "length"))
        return responses


class Endpoint:
    """An OpenAI-compatible chat endpoint. The API key is read only from an environment variable."""

    def __init__(self, url: str, model: str, key_env: str, max_new_tokens: int, parallel: int = 4, retries: int = 5):
        self.url, self.model, self.key_env = url, model, key_env
        self.max_new_tokens, self.parallel, self.retries = max_new_tokens, parallel, retries

    @cached_property
    def client(self):
        try:
            from openai import OpenAI
        except ImportError:
            raise InputError('an endpoint needs the package openai: pip install "frankenstein-vlm[api]"') from None
        if self.key_env not in os.environ:
            raise InputError(f"the environment variable {self.key_env} is not set: the key of {self.url}")
        return OpenAI(base_url=self.url, api_key=os.environ[self.key_env], max_retries=self.retries, timeout=120)

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
            choice = made.choices[0]  # the endpoint does not return token ids
            return Response((choice.message.content or "").strip(), [], choice.finish_reason == "length")
        except OpenAIError as error:
            # A server's error message may quote the key.
            return RuntimeError(f"{self.url}: {str(error).replace(os.environ[self.key_env], '***')}")
        except (TypeError, AttributeError, LookupError) as error:
            return RuntimeError(f"{self.url}: no chat completion in the answer ({type(error).__name__})")

    def prepare(self) -> None:
        _ = self.client

    def __call__(self, prompts: list[Prompt]) -> list[Response | Exception]:
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._one, prompts))


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
