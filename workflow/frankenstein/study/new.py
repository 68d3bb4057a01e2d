"""`frankenstein init`: a study of one's own checkpoints, as a file to edit."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..merging.hybrid_spec import even_cuts
from ..models.architecture import is_language_model, layer_count, read_config

SYSTEM_PROMPT = "Think in <think></think>, answer in <answer></answer>."
_HUB = re.compile(r"[\w.-]+/[\w.-]+")

_STUDY = """\
# Made by `frankenstein init` of
{checkpoints_in_words}
# The tasks are the paper's, from the Hub; `datasets`, `abilities` and `evaluation.benchmarks` choose others.
# Every key is documented in config/README.md; an unknown key stops the run with a message that names it.
study: {name}

regions:
  cuts: {cuts} # first layers of Mid and of Late, {of_layers}

checkpoints:
{checkpoints}

recipes:
  {name}:
{roles}
    # What IN and RL were trained with. It decides whether they reason at all.
    system_prompt: {system_prompt}

# Who writes the image descriptions that M_v2r needs.
descriptions: {{checkpoint: {describer}}}

evaluation:
  max_new_tokens: 2048
  engine: {engine} # or {other_engine}

merging:
  keep: false # hybrids are merged in memory, and take no disk

probes: {{source: published}} # the paper's image pairs
"""


@dataclass(frozen=True)
class Facts:
    """What a checkpoint's config.json says; None where it could not be read. source: a directory or a Hub id."""

    source: str
    local: bool
    family: str | None = None
    layers: int | None = None
    hidden_size: int | None = None

    def __str__(self) -> str:
        sizes = f"{self.family}, {self.layers} decoder layers, width {self.hidden_size}"
        return f"{self.source} ({sizes if self.layers else 'its config.json could not be read here'})"


def look(source: str) -> Facts:
    """Facts of a checkpoint from its config.json: a directory's, or that of a Hub id (owner/name) from the cache or the Hub.

    Raises InputError if there is no such directory or repository, or it holds a language model alone.
    """
    directory = Path(source).expanduser()
    if directory.is_dir():
        if not any(directory.glob("*.safetensors")):
            raise InputError(f"{source}: no .safetensors file: not a checkpoint, or one in a format that is not read")
        return _facts(str(directory), True, directory)
    if not _HUB.fullmatch(source):
        raise InputError(f"{source!r}: neither a directory nor a Hub id (owner/name)")
    config = _from_hub(source)
    return _facts(source, False, config.parent) if config else Facts(source, False)


def _facts(source: str, local: bool, directory: Path) -> Facts:
    config = read_config(directory)
    if is_language_model(config):
        raise InputError(
            f"{source}: {config['model_type']} is a language model, and this is about vision-language models"
        )
    width = config.get("text_config", config).get("hidden_size")
    return Facts(source, local, config["model_type"], layer_count(directory), width)


def _from_hub(repo: str) -> Path | None:
    """config.json of a repository, from the cache or else the Hub; None if it is gated or the Hub can't be reached."""
    import huggingface_hub
    from huggingface_hub import errors

    cached = huggingface_hub.try_to_load_from_cache(repo, "config.json")
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(huggingface_hub.hf_hub_download(repo, "config.json"))
    except errors.GatedRepoError:
        return None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{repo}: no such directory, and no such repository on the Hub (or it is private: `hf auth login`)"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError):
        return None


def compose(
    name: str, base: Facts | None, instruct: Facts, rl: Facts, system_prompt: str = SYSTEM_PROMPT, layers: int | None = None
) -> str:  # fmt: skip
    """The text of a study file, to be written to config/NAME.yaml.

    layers: number of decoder layers, where no config.json could be read. Without any, the cuts are those of 28 layers and the
    file says so. Raises InputError if the checkpoints can't be stages of one model.
    """
    stages = {"base": base, "in": instruct, "rl": rl}
    given = {key: facts for key, facts in stages.items() if facts}
    known = [facts for facts in given.values() if facts.layers]
    for facts in known[1:]:
        for what in ("family", "layers", "hidden_size"):
            one, other = getattr(known[0], what), getattr(facts, what)
            if one != other:
                raise InputError(
                    f"{known[0].source} and {facts.source} are not stages of one model: {what} is {one} and {other}"
                )
    if known and layers not in (None, known[0].layers):
        raise InputError(f"--layers {layers}: {known[0].source} has {known[0].layers}")
    depth = known[0].layers if known else layers
    if depth is not None and depth < 3:
        raise InputError(f"{depth} decoder layers: too few for the regions Early, Mid and Late")
    cuts = list(even_cuts(depth or 28, 3))
    words = "\n".join(f"# {'Base' if key == 'base' else key.upper()}: {facts}" for key, facts in given.items())
    local = {
        key: f"{'path' if facts.local else 'hub'}: {json.dumps(facts.source, ensure_ascii=False)}"
        for key, facts in given.items()
    }
    engine = "vllm" if importlib.util.find_spec("vllm") else "transformers"
    return _STUDY.format(
        name=name,
        checkpoints_in_words=words,
        cuts=cuts,
        of_layers=f"of {depth} layers" if depth else "IF IT HAS 28: check num_hidden_layers in its config.json",
        checkpoints="\n".join(f"  {key}: {{{text}}}" for key, text in local.items()),
        roles="\n".join(f"    {key}: {key}" for key in given),
        system_prompt=json.dumps(system_prompt, ensure_ascii=False),
        describer="base" if base else "in",
        engine=engine,
        other_engine="transformers" if engine == "vllm" else "vllm (several times as fast on a GPU)",
    )
