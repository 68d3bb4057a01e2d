"""What documents say of the code is generated from it by `python -m frankenstein.study.reference_docs`; a test checks it."""

from __future__ import annotations

import inspect
from pathlib import Path

from pydantic import BaseModel

from ..claims.statistics import STATISTICS
from ..models.family import ABILITIES, families
from . import schema

DOCUMENTS = ("config/README.md", "docs/families.md")
_FAMILIES = "<!-- generated from workflow/frankenstein/models/families/ -->"
_STATISTICS = "<!-- generated from workflow/frankenstein/claims/statistics.py -->"
_START, _END = "<!-- generated from workflow/frankenstein/study/schema.py -->", "<!-- end -->"
# Section heading of each model's table: where its keys belong in a study's file.
_SECTIONS = {
    schema.Study: "Top level",
    schema.Regions: "`regions`",
    schema.Merging: "`merging`",
    schema.LocalCheckpoint: "`checkpoints.NAME`: a local directory",
    schema.FromHub: "`checkpoints.NAME`: from the Hub",
    schema.Pretrained: "`checkpoints.NAME`: a Base of the mini study",
    schema.Shape: "`checkpoints.NAME.model`",
    schema.Vision: "`checkpoints.NAME.vision`",
    schema.Stage: "`checkpoints.NAME.curriculum`: each stage",
    schema.Finetuned: "`checkpoints.NAME`: an IN of the mini study",
    schema.Reinforced: "`checkpoints.NAME`: an RL of the mini study",
    schema.Rewards: "`checkpoints.NAME.rewards`",
    schema.Recipe: "`recipes.NAME`",
    schema.RunOf: "`recipes.NAME.runs`: each run of a list",
    schema.Public: "`datasets.NAME`: a public benchmark",
    schema.Abilities: "`abilities`",
    schema.Descriptions: "`descriptions`",
    schema.Evaluation: "`evaluation`",
    schema.Server: "`evaluation.servers.CHECKPOINT`",
    schema.Judge: "`judge`",
    schema.Endpoint: "`descriptions.endpoint`, `judge.endpoint`",
    schema.Probes: "`probes`",
    schema.Updates: "`updates`",
    schema.Training: "`training`",
}


def _default(field) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value in (None, {}, "") or isinstance(value, BaseModel):
        return ""
    if value == list(schema.CHAPTERS):
        return "all"
    return (
        "its own"
        if isinstance(value, str) and len(value) > 40
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


def reference() -> str:
    """All keys of a study's file, one table per section."""
    parts = []
    for model, heading in _SECTIONS.items():
        lines = [f"### {heading}", ""]
        if model.__doc__ and model.__doc__ != schema.Closed.__doc__:
            lines += [" ".join(model.__doc__.split()), ""]
        lines += ["| key | default | what |", "|---|---|---|"]
        for name, field in model.model_fields.items():
            lines.append(f"| `{field.alias or name}` | {_default(field)} | {field.description} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


_ROLES = {"old": "from", "new": "to"}  # `from` is a reserved word in Python


def statistics_table() -> str:
    """Table of the statistics available to claims, one row per function."""
    lines = ["| `statistic` | `of` | what is compared with zero |", "|---|---|---|"]
    for name, of in STATISTICS.items():
        _, _, *arguments = inspect.signature(of.compute).parameters.values()
        keys = [
            f"`{_ROLES.get(key.name, key.name)}`" + ("" if key.default is key.empty else " (optional)")
            for key in arguments
        ]
        lines.append(f"| `{name}` | {', '.join(keys)} | {of.says} |")
    return "\n".join(lines)


def families_table() -> str:
    """Table of the model families that the tests cover, by ability, and the reasons why something is not done."""
    lines = [f"| | `model_type` | {' | '.join(one.replace('frozen_rl', 'RL, regions frozen') for one in ABILITIES)} |"]
    lines.append("|---|---|" + "---|" * len(ABILITIES))
    reasons: list[str] = []
    for name, family in families().items():
        cells = []
        for ability in ABILITIES:
            why = family.refused.get(ability)
            if why and why not in reasons:
                reasons.append(why)
            cells.append(f"no ({reasons.index(why) + 1})" if why else "yes")
        lines.append(f"| {family.title} | `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {why}" for number, why in enumerate(reasons, 1))])


def insert(text: str) -> str:
    """Insert what is generated between its markers in a document."""
    for start, made in ((_START, reference), (_STATISTICS, statistics_table), (_FAMILIES, families_table)):
        if start not in text:
            continue
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(_END)
        text = f"{before}{start}\n\n{made()}\n\n{_END}{after}"
    return text


def main() -> None:
    for path in map(Path, DOCUMENTS):
        path.write_text(insert(path.read_text()))


if __name__ == "__main__":
    main()
