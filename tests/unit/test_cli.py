import shutil

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from frankenstein import cli, updates


@pytest.mark.parametrize("jobs", [1, 2])
def test_updates_writes_the_whole_table(tiny, moved, tmp_path, jobs):
    out = tmp_path / "updates.parquet"
    cli.main(
        ["updates", "--base", str(tiny), "--in", str(moved), "--rl", str(tiny), "-o", str(out), "--jobs", str(jobs)]
    )
    table = pd.read_parquet(out)
    direct = {(stage, record["parameter"]): record for stage, record, *_ in updates.updates(tiny, moved, tiny)}
    assert len(table) == len(direct)
    for row in table.to_dict("records"):
        record = direct[row["stage"], row["parameter"]]
        for key, value in record.items():  # the last bits of a sum depend on the number of threads
            assert row[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=1e-12)), key
        assert row["log_ratio"][0] == 0


def test_errors_are_one_line(tiny, tmp_path, capsys):
    for arguments, says in (
        (["--in", str(tmp_path), "-o", "x.parquet"], "error: .*no .safetensors file"),
        (["--in", str(tiny), "-o", "x.json"], "error: x.json: ends neither in"),
    ):
        with pytest.raises(SystemExit, match=says):
            cli.main(["updates", "--base", str(tiny), *arguments])


def test_nan_is_found_before_any_long_work(tiny, tmp_path, monkeypatch):
    shutil.copytree(tiny, tmp_path / "in")
    tensors = load_file(tmp_path / "in" / "model.safetensors")
    for layer in (3, 5):
        tensors[f"model.layers.{layer}.mlp.up_proj.weight"][2, 1] = float("nan")
    save_file(tensors, tmp_path / "in" / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(updates, "of_matrix", None)
    with pytest.raises(SystemExit, match=r"in: 'layers\.[35]\.mlp\.up_proj\.weight' holds NaN or infinity \(2 such"):
        cli.main(
            ["updates", "--base", str(tiny), "--in", str(tmp_path / "in"), "-o", str(tmp_path / "x.csv"), "--jobs", "1"]
        )
