"""Downloads from a hub on localhost that misbehaves: each in a process of its own, for the Hub's address is read at import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hubserver import TOKEN, HubServer, client

from frankenstein.models import checkpoints, manifests

ONE, TWO = "a" * 40, "b" * 40


@pytest.fixture
def hub(tiny):
    files = {
        path.name: path.read_bytes()
        for path in Path(tiny).iterdir()
        if path.suffix in (".json", ".safetensors", ".jinja")
    }
    pickled = {"config.json": b"{}", "pytorch_model.bin": b"x" * 2000, "modeling_odd.py": b"import os"}
    rows = b'{"unique_id": "a", "problem": "1 + 1?", "answer": "2", "subject": "Algebra", "level": 1}\n'
    server = HubServer(
        {
            "lab/model": {ONE: files, TWO: {**files, "README.md": b"second"}},
            "lab/pickle": {ONE: pickled},
            "lab/twice": {
                ONE: {**files, "consolidated.safetensors": b"x" * 2000, "step-5/model.safetensors": b"x" * 2000}
            },
            "lab/gated": {ONE: files},
            "lab/rows": {ONE: {"test.jsonl": rows * 40}},
        },
        gated=["lab/gated"],
    )
    yield server
    server.close()


def fetch(hub, tmp_path, repo="lab/model", revision=ONE, patterns=None, kind="model", ok=True, **env):
    """(account or None, what was printed) of one fetch."""
    program = (
        "import sys, json; from pathlib import Path; from frankenstein.core import errors; from frankenstein.models import hub\n"
        "account, repo, revision, patterns, kind = json.loads(sys.argv[1])\n"
        "try:\n"
        "    hub.fetch(Path(account), repo, revision, patterns or hub.CHECKPOINT, kind)\n"
        "except errors.InputError as error:\n"
        "    sys.exit(f'error: {error}')\n"
    )
    account = tmp_path / "account.json"
    command = [sys.executable, "-c", program, json.dumps([str(account), repo, revision, patterns, kind])]
    printed = client(hub, tmp_path / "home", command, ok, **env)
    return (json.loads(account.read_text()) if account.exists() else None), printed


def test_a_checkpoint_is_fetched_once_and_verified(hub, tmp_path, tiny):
    account, _ = fetch(hub, tmp_path)
    assert account["verified"] is True
    assert account["files"]["model.safetensors"]["sha256"] == manifests.sha256(Path(tiny) / "model.safetensors")
    (tmp_path / "m").mkdir()
    checkpoints.write_manifest(tmp_path / "m" / "manifest.json", Path(account["folder"]), {})
    assert manifests.directory_of(tmp_path / "m" / "manifest.json").samefile(account["folder"])
    before = hub.requests["GET /lab/model/resolve/" + ONE + "/model.safetensors"]
    fetch(hub, tmp_path)
    assert before == hub.requests["GET /lab/model/resolve/" + ONE + "/model.safetensors"] == 1
    assert TOKEN not in (tmp_path / "account.json").read_text()


def test_no_pickle_and_no_code_is_fetched(hub, tmp_path):
    account, printed = fetch(hub, tmp_path, "lab/pickle", ok=False)
    assert account is None
    assert "no safetensors, only pytorch_model.bin, which is pickle and could run code: not fetched" in printed
    assert not any("resolve" in path for path in hub.requests)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["drop", 503, 429, "truncate"])
def test_a_connection_that_fails_is_tried_again_and_goes_on(hub, tmp_path, what, tiny):
    """By huggingface_hub itself, or by the next try, which is what `retries` of the rule is for."""
    hub.faults = [("resolve/.*/model.safetensors", what)]
    for _ in range(3):
        result = fetch_any(hub, tmp_path)
        if result == 0:
            break
        assert not (tmp_path / "account.json").exists()
    assert result == 0
    account = json.loads((tmp_path / "account.json").read_text())
    assert account["files"]["model.safetensors"]["sha256"] == manifests.sha256(Path(tiny) / "model.safetensors")


def fetch_any(hub, tmp_path) -> int:
    try:
        fetch(hub, tmp_path)
    except AssertionError:
        return 1
    return 0


def test_a_file_that_is_not_what_the_hub_says_is_not_kept(hub, tmp_path, tiny):
    good = (Path(tiny) / "model.safetensors").read_bytes()
    hub.faults = [("resolve/.*/model.safetensors", good[:-1] + bytes([good[-1] ^ 1]))]
    account, printed = fetch(hub, tmp_path, ok=False)
    assert account is None
    assert "model.safetensors is not what the Hub says it is" in printed
    account, _ = fetch(hub, tmp_path)
    assert account["files"]["model.safetensors"]["sha256"] == manifests.sha256(Path(tiny) / "model.safetensors")


@pytest.mark.parametrize(
    ("repo", "revision", "says"),
    [
        ("lab/none", ONE, "no such repository, or it is private and you are not logged in"),
        ("lab/model", "c" * 40, "no such revision; `frankenstein pin CONFIG` writes today's"),
        ("lab/model", None, "revision None is not a commit hash; run `frankenstein pin CONFIG`"),
        ("lab/model", "main", "revision 'main' is not a commit hash"),
        ("lab/gated", ONE, "is gated: accept its terms on its page, then log in"),
    ],
)
def test_what_a_retry_does_not_mend_is_one_line(hub, tmp_path, repo, revision, says):
    account, printed = fetch(hub, tmp_path, repo, revision, ok=False)
    assert account is None
    assert says in printed
    assert "Traceback" not in printed


def test_a_second_copy_of_the_weights_is_not_fetched(hub, tmp_path):
    account, _ = fetch(hub, tmp_path, "lab/twice")
    assert [name for name in account["files"] if name.endswith("safetensors")] == ["model.safetensors"]
    assert not any("consolidated" in path or "step-5" in path for path in hub.requests)


def test_two_revisions_stay_apart(hub, tmp_path):
    one, _ = fetch(hub, tmp_path)
    two, _ = fetch(hub, tmp_path, revision=TWO)
    assert one["folder"] != two["folder"]
    assert "README.md" in two["files"]
    assert "README.md" not in one["files"]


def test_offline_uses_the_cache_and_says_what_is_not_there(hub, tmp_path):
    fetch(hub, tmp_path)
    account, _ = fetch(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert account["verified"] is False
    (tmp_path / "account.json").unlink()
    account, printed = fetch(hub, tmp_path, revision=TWO, ok=False, HF_HUB_OFFLINE="1")
    assert account is None
    assert "not in the cache, and HF_HUB_OFFLINE is set: run once online" in printed


def test_a_full_disk_is_named(hub, tmp_path):
    small = tmp_path / "home"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        account, printed = fetch(hub, tmp_path, ok=False)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert account is None
    assert "the disk of the cache is full" in printed


def test_a_dataset_is_fetched_and_a_missing_file_is_named(hub, tmp_path):
    account, _ = fetch(hub, tmp_path, "lab/rows", patterns=["test.jsonl"], kind="dataset")
    assert list(account["files"]) == ["test.jsonl"]
    (tmp_path / "account.json").unlink()
    account, printed = fetch(hub, tmp_path, "lab/rows", patterns=["data/*.parquet"], kind="dataset", ok=False)
    assert account is None
    assert "no file like data/*.parquet; there are test.jsonl" in printed


PINNED = """\
# mine
study: mine
checkpoints:
  base: {{hub: lab/model}}  # a comment
  in:
    hub: lab/model
    # kept
  rl: {{hub: lab/model, revision: {one}}}
  one: &one {{hub: lab/model}}
  same: *one
  like: {{<<: *one, parameters: 5}}
"""


def test_pin_writes_todays_revisions_and_keeps_the_rest(hub, tmp_path):
    import yaml
    from conftest import ROOT

    whole = yaml.safe_load((ROOT / "config" / "micro.yaml").read_text())
    rest = {
        key: whole[key]
        for key in ("seed", "regions", "base_system_prompt", "abilities", "evaluation", "probes", "updates")
    }
    rest["recipes"] = {"one": {"base": "base", "in": "in", "rl": "rl", "system_prompt": ""}}
    path = tmp_path / "mine.yaml"
    path.write_text(
        PINNED.format(one=ONE) + "datasets:\n  logic: {benchmark: logicvista, repo: lab/rows}\n" + yaml.safe_dump(rest)
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "frankenstein", "pin", str(path)]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert f"checkpoints.base: lab/model at {TWO}" in said
    text = path.read_text()
    assert f"base: {{hub: lab/model, revision: {TWO}, parameters: 8.292e+09}}  # a comment" in text
    pinned = yaml.safe_load(text)
    assert pinned["checkpoints"]["in"] == {"hub": "lab/model", "revision": TWO, "parameters": 8.292e9}
    assert pinned["checkpoints"]["rl"] == {"hub": "lab/model", "revision": ONE}
    assert pinned["datasets"]["logic"]["revision"] == ONE
    assert "    # kept" in text
    assert (
        pinned["checkpoints"]["one"]
        == pinned["checkpoints"]["same"]
        == {"hub": "lab/model", "revision": TWO, "parameters": 8.292e9}
    )
    assert pinned["checkpoints"]["like"] == {"hub": "lab/model", "revision": TWO, "parameters": 5}
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert "everything is pinned already" in again
    assert path.read_text() == text
