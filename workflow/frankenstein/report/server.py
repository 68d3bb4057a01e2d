"""`frankenstein view`: a study's examples on this machine alone, read from its files as they are asked for."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from ..core.errors import InputError
from . import swap_pairs, templates
from .examples import Examples

_IMAGES = ("data", "pairs")  # folders below results/{study}/ whose images are served
_AT_MOST = 1000  # examples per request


class Viewer(ThreadingHTTPServer):
    """Serves the examples of a study: GET and HEAD, on 127.0.0.1, nothing but its pages, records and images.

    results: the study's folder; settings: those of study.jobs.Jobs; swaps: the table of judged swaps, if the study makes one;
    port: 0 for any free one. Raises InputError if no examples are there yet, or the port is taken.
    """

    def __init__(self, results: Path, settings: Mapping, swaps: Path | None, port: int = 0):
        examples = Examples(results, **settings)
        index = examples.index()
        if not index["tasks"]:
            raise InputError(f"{results}: no graded examples yet; run the study first")
        task, runs = settings["abilities"]["vision_to_reasoning"], settings["runs"]
        parts: dict[str, Callable[[], dict]] = {"index": lambda: index}
        if swaps is not None and swaps.exists():
            parts["swaps"] = cache(lambda: swap_pairs.swaps(results, swaps))
        if any(results.glob("attention/*.maps.parquet")):
            parts["attention"] = cache(lambda: _attention(results, examples, task, runs))
        self._folders = [(results / name).resolve() for name in _IMAGES]
        self._results = results.resolve()
        self._page, self.policy = _page(results.name, parts)
        self._records: dict[str, Callable[..., object]] = {
            "/part": lambda name: parts[name](),
            "/questions": lambda task, at: examples.questions(task, _positions(at)),
            "/answers": lambda task, at, run: examples.answers(task, _positions(at), run),
            "/search": lambda task, text, run: examples.search(task, text, run),
        }
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise InputError(f"--port {port}: {error.strerror}; give another, or none for any free one") from None
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    def answer(self, address: str) -> tuple[str, bytes]:
        """(content type, body) of an address. Raises LookupError if nothing is there, ValueError or TypeError for a wrong query."""
        path, query = urlsplit(address)[2:4]
        if path == "/":
            return "text/html; charset=utf-8", self._page
        if path.startswith("/image/"):
            return self._image(unquote(path.removeprefix("/image/")))
        found = self._records[path](**dict(parse_qsl(query, strict_parsing=True)))
        return "application/json", json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")

    def _image(self, name: str) -> tuple[str, bytes]:
        """A file in one of the folders of images, wherever a name with dots or a link would lead."""
        path = (self._results / name).resolve()
        kind = mimetypes.guess_type(path.name)[0] or ""
        if not any(path.is_relative_to(folder) for folder in self._folders) or not kind.startswith("image/"):
            raise LookupError(name)
        if not path.is_file():
            raise LookupError(name)
        return kind, path.read_bytes()


def _attention(*arguments) -> dict:
    from .attention_maps import attention  # numpy and pandas take most of a second, which the viewer starts without

    return attention(*arguments)


def _positions(at: str) -> list[int]:
    found = [int(position) for position in at.split(",")]
    if len(found) > _AT_MOST or min(found) < 0:
        raise ValueError(f"at: {_AT_MOST} positions at most, from 0")
    return found


def _page(study: str, parts: Mapping) -> tuple[bytes, str]:
    """The page, and the content security policy that lets it run its own script and ask this server, and nothing else."""
    assets = templates.assets(templates.FOLDER, templates.EXPLORERS)
    page = templates.template(templates.FOLDER, "viewer.html.jinja").render(study=study, parts=parts, **assets)
    policy = f"default-src 'none'; script-src '{assets['script_hash']}'; style-src 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
    return page.encode(), f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    server_version, sys_version = "frankenstein", ""

    def do_GET(self) -> None:
        if self.headers.get("Host") not in self.server.hosts:  # a page elsewhere whose name was made to lead here
            return self._send(HTTPStatus.FORBIDDEN, "text/plain", b"not asked as localhost")
        try:
            kind, body = self.server.answer(self.path)
        except LookupError as error:
            return self._send(HTTPStatus.NOT_FOUND, "text/plain", f"nothing here: {error}".encode())
        except (ValueError, TypeError, OSError, InputError) as error:
            return self._send(HTTPStatus.BAD_REQUEST, "text/plain", str(error).encode())
        self._send(HTTPStatus.OK, kind, body)

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": self.server.policy,
        }
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Nothing: the terminal shows the address alone."""
