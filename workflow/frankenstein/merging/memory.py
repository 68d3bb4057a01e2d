"""Hybrids in memory, for checkpoints that are only asked: the tensors that `merge` would write, without writing them."""

from __future__ import annotations

from pathlib import Path

from ..inference.cache import digest, files_of
from .plan import Plan
from .tensors import digest as hashed
from .tensors import pieces, threads


def state_dict(made: Plan) -> dict:
    """The hybrid's torch tensors by stored name, in their stored dtypes; equal to those of the files that `merge` writes."""
    import torch

    found = {}
    for name, choice in made.choices.items():
        tensor = made.parents[choice.donor][name]
        if choice.towards:
            tensor = torch.frombuffer(bytearray(b"".join(pieces(made, name))), dtype=tensor.dtype).view(tensor.shape)
        found[made.names[name]] = tensor
    return found


def model_digest(made: Plan, manifests: dict[str, Path]) -> str:
    """What answers of the hybrid depend on, for their cache: the bytes of its tensors, and the config, tokenizer and processor.

    manifests: label -> manifest of each donor.
    """
    with threads() as pool:
        hashes = {made.names[name]: pool.submit(lambda name: hashed(pieces(made, name)), name) for name in made.choices}
        tensors = {name: future.result() for name, future in hashes.items()}
    rest = {
        name: sha256
        for name, sha256 in files_of(manifests[made.config_from]).items()
        if not name.endswith((".safetensors", ".index.json"))
    }
    return digest([tensors, rest])
