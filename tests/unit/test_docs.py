"""The documentation: its links lead somewhere, what is generated is current, the diagram has every rule, and the site builds."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

from frankenstein.cli import reference_docs
from frankenstein.study import workflow

FOLDERS = ("README.md", "docs/*.md", "config/*.md", "results/README.md", "profiles/*/*.md")
PAGES = sorted(page for pattern in FOLDERS for page in ROOT.glob(pattern))


def without_code(text: str) -> str:
    """Markdown without its code blocks, fenced or indented, in which brackets are no links and # begins no heading."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.sub(r"(?<=\n\n)(    .*\n)+", "", text)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)", without_code(text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        slug, number = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"), 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text()))
    for link in links:
        path, _, anchor = link.partition("#")
        if re.match(r"https?:", path):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside the repository"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{link}: no such heading"


def test_anchors_are_githubs():
    text = "# A `b.c`: d, e\n\n```\n# no\n```\n\n## A `b.c`: d, e\n\n    # code\n"
    assert anchors(text) == {"a-bc-d-e", "a-bc-d-e-1"}


def test_every_page_of_the_docs_is_in_the_index_and_on_the_site():
    index, site = (ROOT / "docs" / "index.md").read_text(), (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index
        assert f": {page.name}" in site


def test_the_command_line_is_current():
    assert (ROOT / "docs" / "cli.md").read_text() == reference_docs.reference(), (
        "run python -m frankenstein.cli.reference_docs"
    )


def test_the_diagram_has_every_rule():
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"\w+", re.search(r"```mermaid\n(.*?)```", text, re.S)[1]))
    assert set(workflow.stages(ROOT / "Snakefile")) <= drawn


def test_the_readme_is_short_and_has_the_commands_that_the_gate_runs():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    venv = "    python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e "
    assert f"{venv}. && snakemake\n" in text
    assert f'{venv}".[test]" && pytest\n' in text


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "site" / "methods" / "index.html").read_text()
    assert 'href="../configuration/#several-runs"' in page
    assert '<pre class="mermaid">' in (tmp_path / "site" / "architecture" / "index.html").read_text()
