"""Code dependencies of a script, so that editing a module reruns the jobs that use it and no others.

Snakemake detects a changed script, but not a change in a module that the script imports.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _file(module: str) -> Path | None:
    """The file of a module of this library ("frankenstein.grading"); None for a name that is not a module."""
    if module.split(".")[0] != "frankenstein":
        return None
    path = _ROOT.joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.exists():
            return candidate
    return None


@cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    """Imports, strings, and what may have a docstring: the nodes of a file that matter here (walking all is slow)."""
    kinds = ast.Import | ast.ImportFrom | ast.Constant | ast.JoinedStr | _DOCUMENTED
    return tuple(node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))


@cache
def _imports(path: Path) -> frozenset[Path]:
    """Files of this library that a file imports, at module level or anywhere inside it."""
    found: set[str] = set()
    package = ["frankenstein", *path.parent.relative_to(_ROOT).parts] if _ROOT in path.parents else []
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = {f"{module}.{alias.name}" for alias in node.names}
            # If only its modules are imported (from . import figure3), the package itself is not a dependency.
            found |= names if all(map(_file, names)) else {module, *names}
    files = {_file(name) for name in found}
    if path.name == "__init__.py" and "importlib" in found:  # a package loading modules by name uses them all
        files |= set(path.parent.glob("*.py"))
    return frozenset(files - {None, path})


@cache
def modules(script: Path) -> tuple[Path, ...]:
    """All files of this library that a script uses, directly or indirectly, sorted."""
    todo, seen = [Path(script)], set()
    while todo:
        for path in _imports(todo.pop()) - seen:
            seen.add(path)
            todo.append(path)
    return tuple(sorted(seen))


@cache
def _meaning(path: Path) -> bytes:
    """A module's lines without comments, docstrings and blank lines.

    They are located by position, on which all Python versions agree. Inside a string that is not a docstring, every
    line counts, a comment between parts of the string too.
    """
    # In bytes, as the positions are. A comment begins at the first # of a line that is in no string.
    lines, inside, strings = path.read_bytes().splitlines(), set(), {}
    docstrings = {
        id(node.body[0].value)
        for node in _nodes(path)
        if isinstance(node, _DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in _nodes(path):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)):
            rows = range(node.lineno - 1, node.end_lineno)
            for row in rows:
                start = node.col_offset if row == rows[0] else 0
                stop = node.end_col_offset if row == rows[-1] else len(lines[row])
                strings.setdefault(row, []).append(range(start, stop))
            alone = not (lines[rows[0]][: node.col_offset].strip() or lines[rows[-1]][node.end_col_offset :].strip())
            if id(node) in docstrings and alone:
                lines[rows[0] : rows[-1] + 1] = [b""] * len(rows)
            elif len(rows) > 1:
                inside |= set(rows)
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("frankenstein")):
            # The path of an imported module is irrelevant: its content is in the hash.
            lines[node.lineno - 1 : node.end_lineno] = [b""] * (node.end_lineno - node.lineno + 1)
    for row, line in enumerate(lines):
        column = line.find(b"#")
        while column >= 0 and any(column in string for string in strings.get(row, ())):
            column = line.find(b"#", column + 1)
        if column >= 0:
            lines[row] = line[:column]
    kept = [line if at in inside else line.rstrip() for at, line in enumerate(lines) if at in inside or line.strip()]
    return b"\n".join(kept)


def code_hash(script: Path, *by_name: str) -> str:
    """sha256 (first 16 hex digits) of a script or module together with the library code it uses.

    by_name: modules ("report.figures.figure3") that the script loads by name. Changing a constant changes the hash;
    changing a comment or moving a file does not.
    """
    roots = [Path(script), *(_file(f"frankenstein.{name}") for name in by_name)]
    files = {_meaning(path) for root in roots for path in (root, *modules(root))}
    return hashlib.sha256(b"\0".join(sorted(files))).hexdigest()[:16]
