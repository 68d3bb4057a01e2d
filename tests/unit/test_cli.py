import io
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import frankenstein
from frankenstein import cli
from frankenstein.core import terminal
from frankenstein.updates import matrices, summary, vectors
from frankenstein.updates.table import updates_table


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
    assert f"disk: {'0 bytes' if link else '1.6 MB'}" in said
    assert ("each parent once" in said) == link
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


COMMANDS = cli.commands(cli.parser())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_describes_itself_and_its_examples_parse(name):
    made = COMMANDS[name]
    assert len(made.description.split()) > 8
    title, *examples = made.epilog.splitlines()
    assert title in ("example:", "examples:")
    for line in examples:
        program, *arguments = shlex.split(re.split(r"\s{3,}| > ", line.strip())[0])
        assert program == "frankenstein"
        assert cli.parser().parse_args(arguments).run
    assert all(len(line) <= 120 for line in (made.description + made.epilog).splitlines())


def test_the_help_explains_the_notation_of_merges(capsys):
    """Whoever has installed the library alone has no config/README.md."""
    with pytest.raises(SystemExit):
        cli.main(["merge", "--help"])
    said = capsys.readouterr().out
    for notation in ("IN:RL:RL ", "IN:0.5:IN ", "IN+RL@14-17 ", "IN+RL@attention ", "IN:RL:RL+BASE@3.mlp "):
        assert notation in said
    assert "config/README.md" not in said


def test_the_module_runs_and_its_help_waits_for_nothing():
    script = (
        "import sys, runpy; sys.argv = ['frankenstein', '--version']\n"
        "try: runpy.run_module('frankenstein', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "slow = {'torch', 'pandas', 'numpy', 'transformers', 'pydantic', 'yaml', 'huggingface_hub'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert said == f"frankenstein {frankenstein.__version__}\n"
    assert re.match(r"\d+\.\d+", frankenstein.__version__)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_color_is_for_terminals_that_want_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.paint("no", "bad", Terminal()) == "\033[31mno\033[0m"
    assert terminal.paint("no", "bad", io.StringIO()) == "no"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.paint("no", "bad", Terminal()) == "no"


def test_columns_and_sizes():
    assert terminal.columns([["a", "1"], ["bcd", "20"]]) == ["a     1", "bcd  20"]
    assert [terminal.size(n) for n in (7, 8_123, 2.61e6, 15.2e9)] == ["7 bytes", "8.1 kB", "2.6 MB", "15.2 GB"]


@pytest.fixture(scope="module")
def updated(tiny, moved, tmp_path_factory):
    """The table of tiny -> moved -> an RL that moved layers 3 to 5 alone, twice as far as IN had moved them."""
    directory = tmp_path_factory.mktemp("rl") / "rl"
    shutil.copytree(moved, directory)
    before, after = (load_file(path / "model.safetensors") for path in (tiny, moved))
    kept = {
        name: tensor + 2 * (tensor - before[name]) if re.search(r"layers\.[345]\.", name) else tensor
        for name, tensor in after.items()
    }
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})
    return updates_table(tiny, moved, directory, jobs=1), (tiny, moved, directory)


def test_updates_by_part_add_up(updated):
    table, _ = updated
    parts = summary.by_part(table)
    for stage, of in parts.groupby("stage"):
        *each, whole = of.to_dict("records")
        rows = table[table.stage == stage]
        assert whole["part"] == "all"
        assert whole["frobenius"] == pytest.approx(np.sqrt((rows.frobenius**2).sum()))
        assert sum(part["share"] for part in each) == pytest.approx(1)
        third = rows[(rows.component == "layer") & (rows.layer == 3)]
        (layer,) = [part for part in each if part["part"] == "layer 3"]
        assert layer["frobenius"] == pytest.approx(np.sqrt((third.frobenius**2).sum()))
        assert layer["changed"] == pytest.approx((third.changed * third.entries).sum() / third.entries.sum())
        assert [part["layer"] for part in each if part["layer"] >= 0] == list(range(9))


def test_what_updates_show_in_words(updated):
    table, _ = updated
    compared, of_in, of_rl = summary.findings(table)
    energy = {stage: of[of.part == "all"].frobenius.iloc[0] for stage, of in summary.by_part(table).groupby("stage")}
    larger = max(energy, key=energy.get)
    assert compared.startswith({"IN": "IN - Base is the larger", "RL": "RL - IN is the larger"}[larger])
    moved_by_both = table[(table.stage == "IN") & table.layer.isin([3, 4, 5]) & (table.component == "layer")]
    cosine = np.sqrt((moved_by_both.frobenius**2).sum()) / energy["IN"]  # RL is twice a part of IN
    assert f"cosine between them is {cosine:+.2f}" in compared
    assert "100.0% of all entries changed" in of_in
    assert "Not one entry changed" not in of_in
    assert (
        "RL - IN: 100% of the energy lies in the decoder layers: of this, 0% in Early (0-2), 100% in Mid (3-5)" in of_rl
    )
    assert of_rl.endswith(
        "Not one entry changed in: vision tower, projector, embeddings, final norm, layers 0-2, layers 6-8."
    )
    (same,) = [text for text in summary.findings(table.assign(frobenius=0.0, changed=0.0)) if text.startswith("RL")]
    assert same == "RL - IN is zero: both checkpoints have the same weights."


def test_updates_print_a_table_and_write_a_page(updated, tmp_path, capsys):
    table, stages = updated
    options = [f"--{name}={path}" for name, path in zip(("base", "in", "rl"), stages, strict=True)]
    out = [tmp_path / "u.csv", tmp_path / "u.html"]
    cli.main(["updates", *options, "--jobs", "1", *(f"-o{path}" for path in out)])
    said = capsys.readouterr().out
    for text in summary.findings(table):
        assert text in said
    assert f"{out[0]}: {len(table)} rows" in said
    page = out[1].read_text()
    assert page.count("<tr>") == len(summary.rows(table))
    assert "<svg" in page
    assert not re.search(r"(src|href)=.http", page.replace("xlink:href", ""))
    assert str(stages[2]) in page


def test_view_of_what_is_no_study_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*no file `config`: not a study's folder"):
        cli.main(["view", str(tmp_path)])


def test_the_completion_knows_every_command(tmp_path, capsys):
    cli.main(["completion", "bash"])
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    for typed, completed in (("mer", "merge"), (f"verify {tmp_path}/compl", f"{tmp_path}/completion")):
        words = f"COMP_WORDS=(frankenstein {typed}); COMP_CWORD={len(typed.split())}"
        script = f"source {tmp_path}/completion; {words}; _shtab_frankenstein; echo ${{COMPREPLY[@]}}"
        said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
        assert said.split() == [completed]
