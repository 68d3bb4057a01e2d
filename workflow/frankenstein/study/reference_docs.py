"""The reference in config/README.md, from the schema: `python -m frankenstein.study.reference_docs` writes it, a test compares it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from . import config

_START, _END = "<!-- generated from workflow/frankenstein/study/config.py -->", "<!-- end -->"
# Heading of each model's table: where its keys stand in a file.
_SECTIONS = {
    config.Study: "The file",
    config.Regions: "`regions`",
    config.Merging: "`merging`",
    config.LocalCheckpoint: "`checkpoints.NAME`: a directory",
    config.FromHub: "`checkpoints.NAME`: from the Hub",
    config.Pretrained: "`checkpoints.NAME`: a Base of the mini study",
    config.Shape: "`checkpoints.NAME.model`",
    config.Stage: "`checkpoints.NAME.curriculum`, each",
    config.Finetuned: "`checkpoints.NAME`: an IN of the mini study",
    config.Reinforced: "`checkpoints.NAME`: an RL of the mini study",
    config.Rewards: "`checkpoints.NAME.rewards`",
    config.Recipe: "`recipes.NAME`",
    config.Public: "`datasets.NAME`: a public benchmark",
    config.Abilities: "`abilities`",
    config.Descriptions: "`descriptions`",
    config.Evaluation: "`evaluation`",
    config.Judge: "`judge`",
    config.Endpoint: "`descriptions.endpoint`, `judge.endpoint`",
    config.Probes: "`probes`",
    config.Updates: "`updates`",
}


def _default(field) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value in (None, {}, "") or isinstance(value, BaseModel):
        return ""
    if value == list(config.CHAPTERS):
        return "all"
    return (
        "its own"
        if isinstance(value, str) and len(value) > 40
        else f"`{str(value).lower() if value in (True, False) else value}`"
    )


def reference() -> str:
    """Every key of a study's file: a table a section."""
    parts = []
    for model, heading in _SECTIONS.items():
        lines = [f"### {heading}", ""]
        if model.__doc__ and model.__doc__ != config.Closed.__doc__:
            lines += [" ".join(model.__doc__.split()), ""]
        lines += ["| key | default | what |", "|---|---|---|"]
        for name, field in model.model_fields.items():
            lines.append(f"| `{field.alias or name}` | {_default(field)} | {field.description} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def insert(text: str) -> str:
    """A README with the reference between its marks."""
    before, _, rest = text.partition(_START)
    _, _, after = rest.partition(_END)
    return f"{before}{_START}\n\n{reference()}\n\n{_END}{after}"


def main() -> None:
    path = Path("config/README.md")
    path.write_text(insert(path.read_text()))


if __name__ == "__main__":
    main()
