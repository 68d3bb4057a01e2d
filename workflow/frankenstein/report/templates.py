"""The report's templates, scripts and style, which are in workflow/report/."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import jinja2

FOLDER = Path(__file__).parents[2] / "report"
EXPLORERS = ("source", "examples", "chart", "swaps", "attention")  # scripts of the explorers, in this order
REPORT = ("tables", *EXPLORERS, "layers")  # and of the report
PAGE = ("report.html.jinja", "explorer.html.jinja", "report.css", *(f"{name}.js" for name in REPORT))  # all its files


def template(folder: Path, name: str, **filters: Callable) -> jinja2.Template:
    """A template that may use these filters; what it is given is escaped, and nothing may be missing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= filters
    return environment.get_template(name)


def assets(folder: Path, scripts: tuple[str, ...]) -> dict[str, str]:
    """The arguments style, script (these scripts as one) and script_hash (its source in a content security policy) of a page."""
    script = "\n".join((folder / f"{name}.js").read_text() for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"style": (folder / "report.css").read_text(), "script": script, "script_hash": f"sha256-{digest}"}
