"""`frankenstein pin`: write the current Hub revisions of a study's checkpoints and datasets into its file."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..core.errors import InputError
from . import config


def _values(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    """A mapping's own keys, without those merged in by <<, which belong to the anchor."""
    return {key.value: value for key, value in node.value}


def _edits(text: str, node: yaml.MappingNode, new: dict[str, str]) -> list[tuple[int, int, str]]:
    """(start, end, text) edits that set keys in a mapping: existing values in place, new keys inserted into the mapping."""
    values = _values(node)
    edits = [(values[key].start_mark.index, values[key].end_mark.index, new[key]) for key in new if key in values]
    missing = [f"{key}: {value}" for key, value in new.items() if key not in values]
    if node.flow_style:
        at, before = text.rindex("}", 0, node.end_mark.index), ", "
    else:
        first = node.value[0][1]
        line_end = text.find("\n", first.end_mark.index)
        at, before = (len(text) if line_end < 0 else line_end), "\n" + " " * node.start_mark.column
    return [*edits, (at, at, "".join(before + line for line in missing))]


def pin(path: Path) -> list[str]:
    """Fill in missing revisions (and checkpoints' parameter counts) in a study's file; returns one line per change.

    Existing pins, comments and layout are preserved. Raises InputError if a repository is not on the Hub or the file is not a study.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    text = Path(path).read_text()
    study = config.load(config.read(path))
    top = _values(yaml.compose(text))
    api, edits, said = HfApi(), [], []

    def ask(repo: str, kind: str):
        try:
            return api.repo_info(repo, repo_type=kind)
        except RepositoryNotFoundError:
            raise InputError(
                f"{path}: {kind} {repo}: no such repository, or it is private and you are not logged in"
            ) from None

    for name in study.sources("hub"):
        source, node = study.checkpoints[name], _values(top["checkpoints"])[name]
        if source.revision is None:
            info = ask(source.hub, "model")
            new = {"revision": info.sha}
            if source.parameters is None and info.safetensors:
                new["parameters"] = f"{info.safetensors.total:.4g}"
            edits += _edits(text, node, new)
            said.append(f"checkpoints.{name}: {source.hub} at {info.sha}")
    for name, dataset in study.datasets.items():
        hub = study.from_hub(name)
        if not dataset.path and hub["revision"] is None:
            info = ask(hub["repo"], "dataset")
            node = _values(top["datasets"])[name]
            edits += _edits(text, node, {"revision": info.sha})
            said.append(f"datasets.{name}: {hub['repo']} at {info.sha}")
    for start, end, new in sorted(set(edits), reverse=True):  # two names that share an anchor need one edit
        text = text[:start] + new + text[end:]
    if edits:
        config.load(yaml.safe_load(text))
        Path(path).write_text(text)
    return said
