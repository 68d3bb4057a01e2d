"""Uploads to a hub on localhost: each in a process of its own, for the Hub's address is read at import."""

import shutil
import sys

import pytest
from hubserver import TOKEN, HubServer, client

from frankenstein.merging import hybrids


@pytest.fixture(scope="module")
def hybrid(tiny, moved, tmp_path_factory):
    out = tmp_path_factory.mktemp("push") / "hybrid"
    hybrids.merge({"IN": tiny, "RL": moved}, "IN:RL:RL", out)
    (out / "notes.pt").write_bytes(b"not a part of a checkpoint")
    return out


@pytest.fixture
def hub():
    server = HubServer({"me/other": {"main": {"model.safetensors": b"x" * 2000}}}, owners=["me"])
    yield server
    server.close()


def push(hub, tmp_path, *arguments, ok: bool = True, **env) -> str:
    command = [sys.executable, "-m", "frankenstein", "push", *map(str, arguments)]
    printed = client(hub, tmp_path / "home", command, ok, **env)
    assert "Traceback" not in printed
    return printed


@pytest.mark.slow
def test_a_hybrid_goes_up_whole_and_private(hub, tmp_path, hybrid):
    printed = push(hub, tmp_path, hybrid, "me/hybrid")
    assert f"verified, and uploaded to {hub.url}/me/hybrid" in printed
    sent = {path.name: path.read_bytes() for path in hybrid.iterdir() if path.name != "notes.pt"}
    assert hub.repos["me/hybrid"]["main"] == sent
    assert {"README.md", "merge_manifest.json", "model.safetensors"} <= sent.keys()
    assert hub.visibility["me/hybrid"] == "private"
    assert hub.tokens == {f"Bearer {TOKEN}"}
    push(hub, tmp_path, hybrid, "me/hybrid")  # again, over itself
    push(hub, tmp_path, hybrid, "me/shown", "--public")
    assert hub.visibility == {"me/hybrid": "private", "me/shown": "public"}


def test_what_does_not_verify_stays_here(hub, tmp_path, hybrid, tiny):
    broken = shutil.copytree(hybrid, tmp_path / "broken")
    weights = bytearray((broken / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "model.safetensors").write_bytes(weights)
    assert "is not what merge_manifest.json says" in push(hub, tmp_path, broken, "me/hybrid", ok=False)
    assert "no merge_manifest.json: not a hybrid" in push(hub, tmp_path, tiny, "me/hybrid", ok=False)
    assert not hub.requests


@pytest.mark.parametrize(
    ("repo", "env", "says"),
    [
        ("hybrid", {}, "error: 'hybrid': not a repository of the Hub (owner/name)"),
        ("me/other", {}, "error: me/other: holds weights that are no hybrid's"),
        ("they/theirs", {}, "error: they/theirs: the Hub refuses it (403)"),
        ("me/hybrid", {"HF_TOKEN": ""}, "error: no Hub token: log in"),
        ("me/hybrid", {"HF_HUB_OFFLINE": "1"}, "error: me/hybrid: HF_HUB_OFFLINE is set"),
    ],
)
def test_why_not(hub, tmp_path, hybrid, repo, env, says):
    assert says in push(hub, tmp_path, hybrid, repo, ok=False, **env)
    assert "me/hybrid" not in hub.repos
