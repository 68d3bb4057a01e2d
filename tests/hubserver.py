"""A small server that speaks enough of the Hub's protocol to download from and upload to, and misbehaves on demand."""

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_verysecrettoken0123456789"


def client(hub, home, command: list[str], ok: bool = True, **env) -> str:
    """Run a command as a user who is logged in to this hub; what it printed, which is never the token."""
    result = subprocess.run(
        command,
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": TOKEN,
             "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **env},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    printed = result.stdout + result.stderr
    assert (result.returncode == 0) == ok, printed
    assert TOKEN not in printed
    return printed


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class HubServer:
    """repos: name -> {revision: {file: bytes}}, the last revision being main's; files of 1 kB and more are LFS.

    `faults`: list of (regex of the path, what): "drop" (closes in mid-file), "truncate" (a shorter file, as if whole), an HTTP
    status, or bytes to serve instead; each is used once. `gated`: repositories that want a login. `requests` counts paths.
    Uploads become the revision "main" of a repository, whose `visibility` is what it was made with; `owners`: who may be written to.
    """

    def __init__(self, repos: dict, gated=(), owners=()):
        self.repos, self.gated, self.owners = repos, set(gated), set(owners)
        self.visibility, self.objects = {}, {}
        self.faults, self.requests, self.tokens = [], Counter(), set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self, True)

            def do_HEAD(self):
                hub.answer(self, False)

            def do_POST(self):
                hub.receive(self)

            def do_PUT(self):
                hub.receive(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def send(self, handler, status, body=b"", headers=None, head=False):
        handler.send_response(status)
        for key, value in (headers or {}).items():
            handler.send_header(key, value)
        if not headers or "Content-Length" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if not head:
            handler.wfile.write(body)

    def fault(self, path):
        for at, (pattern, what) in enumerate(self.faults):
            if re.search(pattern, path):
                del self.faults[at]
                return what
        return None

    def answer(self, handler, get: bool):
        path = handler.path.split("?")[0]
        self.requests[("GET" if get else "HEAD") + " " + path] += 1
        if token := handler.headers.get("Authorization"):
            self.tokens.add(token)
        what = self.fault(path) if get else None
        if isinstance(what, int):
            return self.send(handler, what, b"{}", {"Retry-After": "0"})
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/.*)?)?", path)
        file = re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = api[2] if api else file[1] if file else None
        if repo not in self.repos:
            return self.send(handler, 404, b"{}", {"X-Error-Code": "RepoNotFound"}, not get)
        revisions = self.repos[repo]
        revision = (api[4] if api else file[2]) or "main"
        revision = list(revisions)[-1] if revision == "main" else revision
        if revision not in revisions:
            return self.send(handler, 404, b"{}", {"X-Error-Code": "RevisionNotFound"}, not get)
        files = revisions[revision]
        if api and api[3] == "tree":
            entries = [{"type": "file", "path": name, **self.entry(data)} for name, data in files.items()]
            return self.send(handler, 200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
        if api:
            siblings = []
            for name, data in files.items():
                entry = self.entry(data)
                siblings.append({"rfilename": name, "size": entry["size"], "blobId": entry["oid"]})
                if "lfs" in entry:
                    siblings[-1]["lfs"] = {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": 130}
            info = {
                "id": repo,
                "sha": revision,
                "siblings": siblings,
                "private": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
            info |= {
                "gated": repo in self.gated and "auto",
                "safetensors": {"parameters": {"BF16": 8292166656}, "total": 8292166656},
            }
            return self.send(handler, 200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        if repo in self.gated:
            return self.send(handler, 403, b"{}", {"X-Error-Code": "GatedRepo"}, not get)
        if file[3] not in files:
            return self.send(handler, 404, b"{}", {"X-Error-Code": "EntryNotFound"}, not get)
        return self.file(handler, files[file[3]], revision, what, get)

    def receive(self, handler):
        """An upload: make a repository, ask which files are LFS, send their bytes, commit."""
        path = handler.path.split("?")[0]
        self.requests[f"{handler.command} {path}"] += 1
        if token := handler.headers.get("Authorization"):
            self.tokens.add(token)
        body = self.body(handler)
        if stored := re.fullmatch(r"/objects/(\w+)", path):
            self.objects[stored[1]] = body
            return self.send(handler, 200)
        if path == "/api/validate-yaml":
            return self.json(handler, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] not in self.owners:
                return self.send(handler, 403, b"{}")
            self.repos[repo], self.visibility[repo] = {"main": {}}, asked.get("visibility")
            return self.json(handler, {"url": f"{self.url}/{repo}"})
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            objects = [
                {**asked, "actions": {"upload": {"href": f"{self.url}/objects/{asked['oid']}"}}}
                for asked in json.loads(body)["objects"]
            ]
            return self.json(handler, {"transfer": "basic", "objects": objects})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if found[2] == "preupload":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= 1000 else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.json(handler, {"files": files})
        files = self.repos[found[1]]["main"]
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.objects[line["value"]["oid"]]
        oid = "c" * 40
        return self.json(
            handler, {"success": True, "commitOid": oid, "commitUrl": f"{self.url}/{found[1]}/commit/{oid}"}
        )

    def json(self, handler, answer):
        self.send(handler, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def body(self, handler) -> bytes:
        if handler.headers.get("Transfer-Encoding") != "chunked":
            return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        body = b""
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return body

    def entry(self, data):
        entry = {"size": len(data), "oid": git_blob(data)}
        if len(data) >= 1000:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def file(self, handler, data, revision, what, get):
        entry = self.entry(data)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {
            "X-Repo-Commit": revision,
            "ETag": f'"{etag}"',
            "Accept-Ranges": "bytes",
            "X-Linked-Size": str(len(data)),
        }
        if "lfs" in entry:
            headers["X-Linked-Etag"] = f'"{etag}"'
        body, status = what if isinstance(what, bytes) else data, 200
        if what == "truncate":
            body = data[: len(data) // 2]
        if (asked := handler.headers.get("Range")) and get:
            start = int(re.match(r"bytes=(\d+)-", asked)[1])
            body, status = body[start:], 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(body))
        if what == "drop":
            handler.send_response(status)
            for key, value in headers.items():
                handler.send_header(key, value)
            handler.end_headers()
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.shutdown(2)
            return None
        return self.send(handler, status, body, headers, not get)
