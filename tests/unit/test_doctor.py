"""`frankenstein doctor`: what it says of a machine, and never the token."""

import pytest

from frankenstein import cli
from frankenstein.core.errors import InputError
from frankenstein.study import doctor


def lines(part) -> dict[str, doctor.Line]:
    """Findings by their first word."""
    return {line.what.split()[0].rstrip(":"): line for line in part}


def test_this_environment_has_what_it_needs():
    assert {line.state for line in doctor._python()} == {doctor.OK}


def test_a_package_that_is_missing_or_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda _: ["torch>=99", "nowhere>=1", "yaml>=1; extra == 'test'"])
    found = lines(doctor._python())["packages"]
    assert found.state == doctor.MISSING
    assert "torch>=99 (here " in found.what
    assert "nowhere>=1" in found.what
    assert "yaml" not in found.what
    assert "pip install -c constraints.txt -e ." in found.todo


@pytest.mark.parametrize(("memory", "state"), [(7.9e9, doctor.OK), (4e9, doctor.MISSING)])
def test_memory(monkeypatch, memory, state):
    monkeypatch.setattr(doctor.os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": memory}.get)
    assert next(doctor._machine()).state == state


def test_a_gpu_that_torch_can_not_use(monkeypatch):
    def unusable():
        raise InputError("GPU 0 is there, and torch cannot use it")

    monkeypatch.setattr(doctor.gpu, "device", unusable)
    monkeypatch.setattr(doctor, "_output", lambda *command: "NVIDIA H100, 81559 MiB, 550.54")
    gpu, torch = doctor._gpu()
    assert "H100" in gpu.what
    assert (torch.state, torch.todo) == (doctor.MISSING, "GPU 0 is there, and torch cannot use it")


def test_the_token_is_never_shown(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(doctor.hub, "cache", lambda: tmp_path / "none" / "hub")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    found = list(doctor._hub())
    assert "Hub token: present" in [line.what for line in found]
    assert "secret" not in str(found)


@pytest.mark.parametrize(("state", "code"), [(doctor.MISSING, 1), (doctor.NOTE, None)])
def test_exit_code(monkeypatch, capsys, state, code):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Line(doctor.OK, "a"), doctor.Line(state, "b", "do c")])
    if code:
        with pytest.raises(SystemExit) as end:
            cli.main(["doctor"])
        assert end.value.code == code
    else:
        cli.main(["doctor"])
    assert capsys.readouterr().out.splitlines() == ["ok       a", f"{state:8} b", "           do c"]
