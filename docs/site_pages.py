"""mkdocs hooks: the READMEs of other folders become pages of the site, and links between files become links between pages.

On GitHub, all links lead to files of the repository; on the site, those to files that are no pages become plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

_ROOT = Path(__file__).parents[1]
# File of the repository -> page of the site.
_PAGES = {
    "README.md": "readme.md",
    "config/README.md": "configuration.md",
    "results/README.md": "results.md",
    **{str(path.relative_to(_ROOT)): f"profiles/{path.parent.name}.md" for path in _ROOT.glob("profiles/*/README.md")},
}
_LINK = re.compile(r"(?<!`)\[([^\[\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Add the pages whose files lie outside docs/."""
    for source, page in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / source).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite a page's links, which are relative to its file in the repository."""
    uri = page.file.src_uri
    source = {page: source for source, page in _PAGES.items()}.get(uri, f"docs/{uri}")

    def rewritten(link):
        text, path, anchor = link[1], link[2], link[3] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        place = _PAGES.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(place) is None:
            return text
        return f"[{text}]({posixpath.relpath(place, posixpath.dirname(uri) or '.')}{anchor})"

    return _LINK.sub(rewritten, markdown)
