import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from frankenstein import cli
from frankenstein.updates import matrices, vectors


@pytest.mark.parametrize("jobs", [1, 2])
def test_updates_writes_the_whole_table(tiny, moved, tmp_path, jobs):
    out = tmp_path / "updates.parquet"
    cli.main(
        ["updates", "--base", str(tiny), "--in", str(moved), "--rl", str(tiny), "-o", str(out), "--jobs", str(jobs)]
    )
    table = pd.read_parquet(out)
    made = [*matrices.updates(tiny, moved, tiny), *vectors.updates(tiny, moved, tiny)]
    direct = {(stage, record["parameter"]): record for stage, record, *_ in made}
    assert len(table) == len(direct)
    assert list(table.kind != "matrix") == sorted(table.kind != "matrix")  # matrices first
    for row in table.to_dict("records"):
        record = direct[row["stage"], row["parameter"]]
        for key, value in record.items():  # the last bits of a sum depend on the number of threads
            assert row[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=1e-12)), key
        if row["kind"] == "matrix":
            assert row["log_ratio"][0] == 0
        else:
            assert row["log_ratio"] is None
            assert np.isnan([row[key] for key in ("spectral", "slope", "stable_rank", *matrices.GEOMETRY)]).all()


def test_errors_are_one_line(tiny, tmp_path, capsys):
    for arguments, says in (
        (["--in", str(tmp_path), "-o", "x.parquet"], "error: .*no .safetensors file"),
        (["--in", str(tiny), "-o", "x.json"], "error: x.json: must end in"),
    ):
        with pytest.raises(SystemExit, match=says):
            cli.main(["updates", "--base", str(tiny), *arguments])


def test_nan_is_found_before_any_long_work(tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny, tmp_path / "in")
    tensors = load_file(tmp_path / "in" / "model.safetensors")
    for layer in (3, 5):
        tensors[f"model.layers.{layer}.mlp.up_proj.weight"][2, 1] = float("nan")
    save_file(tensors, tmp_path / "in" / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(matrices, "analyze_matrix", None)
    with pytest.raises(SystemExit, match=r"in: 'layers\.[35]\.mlp\.up_proj\.weight' holds NaN or infinity \(2 such"):
        cli.main(
            ["updates", "--base", str(tiny), "--in", str(tmp_path / "in"), "-o", str(tmp_path / "x.csv"), "--jobs", "1"]
        )


@pytest.mark.parametrize("link", [False, True])
def test_merge_verify_inspect(tiny, moved, tmp_path, capsys, link):
    out = tmp_path / "out"
    arguments = [
        "merge",
        "--in",
        str(tiny),
        "--rl",
        str(moved),
        "--rest",
        "vision_tower=RL,head=IN",
        "IN:RL:RL+IN@8",
        str(out),
    ]
    arguments += ["--link", str(tmp_path / "shards")] if link else []
    cli.main([*arguments, "--dry-run"])
    said = capsys.readouterr().out
    assert "disk: 0.00 GB" in said
    assert ("once per parent" in said) == link
    assert not any(tmp_path.iterdir())
    cli.main(arguments)
    cli.main(["verify", str(out)])
    cli.main(["inspect", str(out)])
    said = capsys.readouterr().out
    assert "every tensor is its donor's" in said
    assert "vision_tower  RL" in said
    assert "layer-008     IN" in said
    assert "frankenstein merge --in" in (out / "README.md").read_text()
    if link:  # the same stores serve the next hybrid
        before = {path: path.stat().st_ino for path in tmp_path.glob("shards/*/*.safetensors")}
        cli.main([*arguments[:-3], str(tmp_path / "next"), *arguments[-2:]])
        assert before == {path: path.stat().st_ino for path in tmp_path.glob("shards/*/*.safetensors")}


def test_merge_says_what_is_wrong(tiny, moved, tmp_path):
    out = str(tmp_path / "out")
    for arguments, says in (
        (["IN:RL:RL", out], "error: no donors: give --in and --rl"),
        (["--in", str(tiny), "--donor", f"IN={moved}", "IN", out], "error: donor IN is given twice"),
        (["--donor", "x", "IN", out], "error: --donor x: not NAME=DIR"),
        (["--in", str(tiny), "IN:RL:RL", out], "error: hybrid 'IN:RL:RL': no donor 'RL'; given: IN"),
        (
            ["--in", str(tiny), "--rl", str(moved), "--cuts", "3;6", "IN:RL:RL", out],
            "error: --cuts 3;6: not comma-separated layers",
        ),
        (
            ["--in", str(tiny), "--rl", str(moved), "--rest", "early=1", "IN:RL:RL", out],
            "error: rest_from: unknown part 'early'",
        ),
    ):
        with pytest.raises(SystemExit, match=says):
            cli.main(["merge", *arguments])
    assert not any(tmp_path.iterdir())


def test_a_merge_imports_neither_torch_nor_pandas(tiny, moved, tmp_path):
    script = (
        "import sys; from frankenstein import cli; "
        f"cli.main(['merge', '--in', {str(tiny)!r}, '--rl', {str(moved)!r}, 'IN:RL:RL', {str(tmp_path / 'out')!r}]); "
        "assert not {'torch', 'pandas', 'scipy', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_view_of_what_is_no_study_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*no file `config`: not a study's folder"):
        cli.main(["view", str(tmp_path)])
