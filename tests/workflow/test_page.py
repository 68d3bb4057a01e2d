"""The report as its reader has it: in a browser, without a network; and what it says of what is not there."""

import csv
import html
import json
import os
import re
import shutil

import pandas as pd
import pyarrow.parquet
import pytest
import yaml
from browser import CHROMIUM, Browser
from conftest import ROOT
from study import snakemake

from frankenstein.report import data_dictionary

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@needs_browser
def test_the_report_shows_all_without_a_network(results, tmp_path):
    page = shutil.copy(results / "report.html", tmp_path / "sent.html")  # alone, as a co-author gets it
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        images = browser.evaluate(
            "[...document.images].map(i => [i.complete && i.naturalWidth > 500, i.alt.length > 40])"
        )
        assert len(images) == len(list((results / "figures").glob("*.png")))
        assert all(shown and described for shown, described in images)
        # Sorting works, both ways.
        cells = "[...document.querySelectorAll('#scores tbody tr')].map(r => Number(r.cells[6].dataset.value))"
        press = "document.querySelectorAll('#scores th button')[6].click()"
        assert browser.evaluate("document.querySelectorAll('#scores th')[6].textContent") == "value"
        browser.evaluate(press)
        rising = browser.evaluate(cells)
        browser.evaluate(press)
        assert rising == sorted(rising)
        assert browser.evaluate(cells) == sorted(rising, reverse=True)
        # So it does where some tests were not made, and where an N is infinite.
        for at in range(13):
            browser.evaluate(
                f"document.querySelectorAll('table.claim').forEach(t => t.querySelectorAll('th button')[{at}].click())"
            )
        at = list(pd.read_csv(results / "figures" / "claims.csv")).index("needed_examples")
        needed = f"[...document.querySelectorAll('#claims tbody tr')].map(r => r.cells[{at}].dataset.value ?? '').filter(v => v !== '').map(Number)"
        assert browser.evaluate(f"document.querySelectorAll('#claims th')[{at}].textContent") == "needed_examples"
        browser.evaluate(f"document.querySelectorAll('#claims th button')[{at}].click()")
        found = browser.evaluate(f"{needed}.map(v => v === Infinity ? 1e300 : v)")
        assert found == sorted(found)
        assert len(found) > 3
        # No part is wider than the page but what scrolls in itself.
        assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert browser.said() == []
        assert [url[:30] for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()[:30]]


@needs_browser
def test_the_browser_would_tell_of_errors_requests_and_images_that_are_not_there(tmp_path):
    """The test above can fail: a page that asks for things, throws, and shows nothing."""
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://127.0.0.1:9/none.png"><script>console.log("x"); undefined.x;</script>')
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        assert browser.evaluate("[...document.images].map(i => i.naturalWidth)") == [0]
        assert any("9/none.png" in url for url in browser.requests())
        assert any("TypeError" in line for line in browser.said())


def test_the_report_says_what_was_run(results):
    text = (results / "report.html").read_text()
    assert "<script src" not in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    manifest = json.loads((results / "checkpoints" / "one-rl" / "manifest.json").read_text())
    assert f"{manifest['parameters']:,}" in text
    for said in (
        "trained here: grpo, from one-in, seed 12, late frozen",
        "torch 2.",
        "snakemake --configfile config/micro.yaml",
        "One recipe: nothing says whether another recipe would do the same.",
        "Coarse tests: ",
        "max_new_tokens: 12",
    ):
        assert said in text, said
    verdicts = pd.read_csv(results / "tables" / "verdicts.csv")
    assert len(verdicts) == 7
    for row in verdicts.itertuples():
        assert f">{row.verdict}</span>" in text
        assert row.says in html.unescape(text)


def fields(path):
    """Columns of a file of results/{study}/."""
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_schema(path).names
    with open(path) as file:
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in file]
            return list(dict.fromkeys(key for line in lines if "header" not in line for key in line))
        return next(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def test_every_file_is_in_the_data_dictionary_column_by_column(results):
    odd, seen = [], 0
    for path in sorted(results.rglob("*")):
        if path.suffix in (".csv", ".tsv", ".jsonl", ".parquet") and "checkpoints" not in path.parts:
            odd += data_dictionary.differences(path.relative_to(results).as_posix(), fields(path))
            seen += 1
    assert odd == []
    assert seen > 100


def test_a_column_that_is_not_in_the_dictionary_is_named():
    columns = list(data_dictionary.columns("figures/claims.csv"))
    assert data_dictionary.differences("figures/claims.csv", [*columns[1:], "magic"]) == [
        "figures/claims.csv: magic is not in the dictionary",
        "figures/claims.csv: claim is in the dictionary only",
    ]


def test_the_page_of_the_dictionary_is_the_dictionary():
    assert (ROOT / "results" / "README.md").read_text() == data_dictionary.markdown(), (
        "python -m frankenstein.report.data_dictionary"
    )


def test_after_a_failed_run_there_is_a_report_of_what_there_is(micro, tmp_path):
    repository = shutil.copytree(micro, tmp_path / "repository", symlinks=True)
    results = repository / "results" / "micro"
    (results / "attention" / "one-rl.1.csv").unlink()
    (results / "figures" / "figure5.png").unlink()
    (results / "report.html").unlink()
    weights = results / "checkpoints" / "one-rl" / "model.safetensors"
    times = weights.stat()
    weights.write_bytes(weights.read_bytes()[:1000])
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    output = snakemake(repository, "--keep-going", ok=False)
    assert "results/micro/report.partial.html" in output
    text = (results / "report.partial.html").read_text()
    assert "This report is not whole" in text
    assert "<li><code>results/micro/attention/one-rl.1.csv</code></li>" in text
    assert "figure5.png</code></li>" not in text  # made again, as nothing of it failed
    # No statement rests on half of the shards, and the others are still made.
    assert "In some runs not tested, no attention of RL: 2 (attention RL - IN in Mid)" in text
    assert "<td>benchmarks RL - IN</td>" in text
    assert (
        'class="warning">Made 20' in text.split('<figure id="figure3">')[1].split("</figure>")[0]
    )  # of the run before
    assert 'class="warning">Made 20' not in text.split('<figure id="figure5">')[1].split("</figure>")[0]
    # Once what failed is mended, the whole report is made, and what was not whole goes.
    shutil.copy(micro / weights.relative_to(repository), weights)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    snakemake(repository)
    assert not (results / "report.partial.html").exists()
    assert "This report is not whole" not in (results / "report.html").read_text()


def test_a_study_of_little_claims_little(micro):
    """One recipe without Base, frozen runs or evaluation: a whole report that says so."""
    trained = micro / "results/micro/checkpoints"
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text()) | {
        "study": "little",
        "chapters": ["attention"],
    }
    config["checkpoints"] = {name: {"path": str(trained / f"one-{name}")} for name in ("in", "rl")}
    config["recipes"] = {"mine": {"in": "in", "rl": "rl", "system_prompt": "think first."}}
    config["merging"] = {}
    config["probes"] |= {"shards": 1}
    (micro / "config" / "little.yaml").write_text(yaml.safe_dump(config))
    snakemake(micro, config="config/little.yaml")
    text = (micro / "results" / "little" / "report.html").read_text()
    for said in (
        "No Base in mine: no weight updates, no localization, no step from Base to IN.",
        "No runs with a region frozen in mine",
        "No IN of another seed beside RL in mine",
        "One training run: intervals are over its examples",
        "Not tested, no evaluation: 1 (benchmarks IN - Base)",
        "Not tested, no localization: 3 (recognition",
    ):
        assert said in text, said
    verdicts = pd.read_csv(micro / "results/little/tables/verdicts.csv").set_index("claim").verdict
    assert set(verdicts.drop(2)) == {"not in this study"}
    assert verdicts[2] == "undecided"  # one run


def test_a_claim_that_no_study_could_test_stops_before_the_first_job(micro):
    (micro / "own.yaml").write_text(
        "- {claim: own, says: x, statements: [{name: a, statistic: gain, of: {metric: M_vis, form: IN, to: RL}, expect: less}]}"
    )
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text()) | {
        "study": "mistaken",
        "claims": ["own.yaml"],
    }
    (micro / "config" / "own.yaml").write_text(yaml.safe_dump(config))
    output = snakemake(micro, config="config/own.yaml", ok=False)
    assert "own.yaml: claim own: gain of" in output
    assert "Traceback" not in output
    assert not (micro / "results/mistaken/checkpoints").exists()
