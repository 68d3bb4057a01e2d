import pandas as pd
import pytest

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
        assert {key: row[key] for key in record} == record
        assert row["log_ratio"][0] == 0


def test_errors_are_one_line(tiny, tmp_path, capsys):
    for arguments, says in (
        (["--in", str(tmp_path), "-o", "x.parquet"], "error: .*no .safetensors file"),
        (["--in", str(tiny), "-o", "x.json"], "error: x.json: ends neither in"),
    ):
        with pytest.raises(SystemExit, match=says):
            cli.main(["updates", "--base", str(tiny), *arguments])
