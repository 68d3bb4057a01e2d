"""Hybrids in memory, for checkpoints that are only asked: the tensors that `merge` would write, without writing them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from ..inference import vllm_engine
from ..inference.cache import digest, files_of
from .plan import Plan, plan
from .tensors import digest as hashed
from .tensors import pieces, threads


@dataclass(frozen=True)
class Hybrid:
    """A hybrid by its recipe: donors (label -> checkpoint directory), spec, cuts and rest_from, as in `plan`."""

    donors: dict[str, str]
    spec: str
    cuts: tuple[int, int] | None
    rest_from: str | dict[str, str]

    worker = f"{__name__}.Worker"

    @cached_property
    def plan(self) -> Plan:
        return plan({label: Path(path) for label, path in self.donors.items()}, self.spec, self.cuts, self.rest_from)

    @property
    def directory(self) -> Path:
        """The donor of config, tokenizer and processor."""
        return Path(self.donors[self.plan.config_from])

    def plain(self) -> dict:
        """The arguments that make it again, as data that another process can be sent."""
        return asdict(self)

    def state_dict(self) -> dict:
        """Its torch tensors by stored name, in their stored dtypes; equal to those of the files that `merge` writes."""
        import torch

        made, found = self.plan, {}
        for name, choice in made.choices.items():
            tensor = made.parents[choice.donor][name]
            if choice.towards:
                tensor = torch.frombuffer(bytearray(b"".join(pieces(made, name))), dtype=tensor.dtype).view(
                    tensor.shape
                )
            found[made.names[name]] = tensor
        return found

    def model_digest(self, manifests: dict[str, Path]) -> str:
        """What its answers depend on, for their cache: the bytes of its tensors, and the config, tokenizer and processor.

        manifests: label -> manifest of each donor.
        """
        made = self.plan
        with threads() as pool:
            hashes = {
                made.names[name]: pool.submit(lambda name: hashed(pieces(made, name)), name) for name in made.choices
            }
            tensors = {name: future.result() for name, future in hashes.items()}
        rest = {
            name: sha256
            for name, sha256 in files_of(manifests[made.config_from]).items()
            if not name.endswith((".safetensors", ".index.json"))
        }
        return digest([tensors, rest])


class Worker(vllm_engine.Worker):
    """A worker process of vLLM that merges in memory."""

    def load_hybrid(self, **recipe) -> None:
        self.take(weights_iterator=iter(Hybrid(**recipe).state_dict().items()))
