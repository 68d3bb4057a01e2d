"""The report's examples, swaps, maps and charts, and `frankenstein view`, as their reader has them: in a browser."""

import json
import threading
from pathlib import Path

import generated_study
import pandas as pd
import pytest
from browser import CHROMIUM, Browser

from frankenstein.report import packing, page
from frankenstein.report.examples import Examples
from frankenstein.report.server import Viewer
from frankenstein.study import config
from frankenstein.study.jobs import PARTS, Jobs

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# Follows an address within the page and returns how many examples it shows.
FOLLOW = """
async function follow(address) {
  const status = document.querySelector("#examples [role=status]");
  status.textContent = "";
  location.hash = address;
  while (!status.textContent) await new Promise((resolve) => setTimeout(resolve, 1));
  return Number(status.textContent.split(" of ")[0].replaceAll(",", ""));
}
"""
# What a reader who hears the page, or uses no mouse, would miss.
UNNAMED = """[...document.querySelectorAll("select, input, button, canvas, svg, img")].filter((node) =>
  node.tagName === "IMG" ? !node.hasAttribute("alt")
  : !(node.labels?.length || node.textContent.trim() || node.ariaLabel || node.getAttribute("aria-label"))).map((node) => node.outerHTML)"""
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def browser(chromium):
    """An empty window on a desk; a test fails if its pages wrote anything to the console."""
    chromium.resize(1280, 900)
    chromium.open("about:blank")
    chromium.events.clear()
    yield chromium
    assert chromium.said() == []


def begun(browser, url: str) -> None:
    browser.open(url)
    browser.wait("!!document.querySelector('#examples article h3')")


def cells(browser, table: str) -> list[dict]:
    """The links in a table's rows: column, address, text, and the row's other cells by column."""
    return browser.evaluate(f"""[...document.querySelectorAll("#{table} tbody tr")].flatMap((row) => {{
      const names = [...row.closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
      const all = Object.fromEntries(names.map((name, i) => [name, row.cells[i].textContent]));
      return [...row.querySelectorAll("a")].map((link) => ({{
        column: names[link.closest("td").cellIndex], address: link.getAttribute("href"), text: link.textContent, row: all }}));
    }})""")


def test_every_rate_opens_the_examples_that_it_counts(browser, results):
    begun(browser, (results / "report.html").as_uri() + "#examples")
    assert browser.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 1000
    browser.evaluate(FOLLOW)
    expected = {}
    scores = pd.read_csv(results / "tables" / "scores.csv").set_index(["run", "role", "metric"])
    for cell in cells(browser, "scores"):
        found = scores.loc[int(cell["row"]["run"]), cell["row"]["role"], cell["row"]["metric"]]
        count = found.value * found.n if cell["column"] == "value" else found[cell["column"]]
        expected.setdefault(cell["address"], set()).add(round(count))
    for table in ("vision", "paired"):
        rates = ("accuracy", "accuracy_black", "accuracy_shuffled")
        frame = pd.read_csv(results / "tables" / f"{table}.csv")
        keys = [name for name in ("run", "role", "a", "b", "metric") if name in frame]
        rows = {
            tuple(map(str, key)): row for key, row in zip(frame[keys].to_numpy(), frame.to_dict("records"), strict=True)
        }
        for cell in cells(browser, table):
            row = rows[tuple(cell["row"][key] for key in keys)]
            count = row[cell["column"]] * (row["n"] if cell["column"] in rates else 1)
            expected.setdefault(cell["address"], set()).add(round(count))
    pairs = pd.read_csv(results / "tables" / "paired.csv").astype(str)
    changed = {
        (row.run, frozenset((row.a, row.b)), row.metric): int(row.n10) + int(row.n01) for row in pairs.itertuples()
    }
    for cell in cells(browser, "differences"):
        row = cell["row"]
        count = changed[row["run"], frozenset((row["from"], row["to"])), row["metric"]]
        expected.setdefault(cell["address"], set()).add(count)
    for table, named in (("table2", "ability"), ("table3", "model")):
        linked = cells(browser, table)
        assert {cell["row"]["source"] for cell in linked} == {"study"}
        for cell in linked:
            count = float(cell["text"].split(" [")[0]) / 100 * float(cell["row"]["n"])
            expected.setdefault(cell["address"], set()).add(round(count))
        assert len({cell["row"][named] for cell in linked}) >= 3
    pooled = [cell for cell in cells(browser, "rewarded") if cell["column"] in ("IN", "RL")]
    assert any("," in cell["row"]["tasks"] for cell in pooled)
    for cell in pooled:
        count = float(cell["text"]) / 100 * float(cell["row"]["n"])
        expected.setdefault(cell["address"], set()).add(round(count))
    assert len(expected) > 400
    some = dict(list(expected.items())[:: len(expected) // 150])
    some |= {cell["address"]: expected[cell["address"]] for cell in pooled}
    found = [browser.evaluate(f"follow({json.dumps(address)})") for address in some]
    odd = {
        address: (shown, some[address]) for address, shown in zip(some, found, strict=True) if {shown} != some[address]
    }
    assert not odd
    assert [url[:4] for url in browser.requests()] == ["file"] + ["data"] * (len(browser.requests()) - 1)


def test_the_report_reads_its_figures_layer_by_layer(browser, results):
    begun(browser, (results / "report.html").as_uri() + "#examples")
    for figure, value in (("figure3", "attention_mass"), ("figure5", "frobenius_rms")):
        browser.evaluate(f"document.querySelector('#{figure} details[data-figure]').open = true")
        browser.wait(f"!!document.querySelector('#{figure} details[data-figure] tbody tr')")
        browser.evaluate(f"document.querySelector('#{figure} input[type=range]').focus()")
        browser.press("ArrowRight")
        browser.press("ArrowRight")
        shown = browser.evaluate(
            f"[...document.querySelectorAll('#{figure} details[data-figure] tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
        )
        frame = pd.read_csv(results / "figures" / f"{figure}.csv")
        frame = frame[frame.layer == 2]
        assert [row[0] for row in shown] == [f"{row.stage}, run {row.run}" for row in frame.itertuples()]
        assert [float(row[1]) for row in shown] == pytest.approx(frame[value].to_list(), rel=1e-3)
    for figure in ("figure4", "figure6"):
        browser.evaluate(f"document.querySelector('#{figure} details[data-figure]').open = true")
        browser.wait(f"!!document.querySelector('#{figure} svg.chart')")
    assert browser.evaluate(UNNAMED) == []
    for section, shown in (("attention-maps", "canvas"), ("swaps", "tbody tr")):
        browser.evaluate(f"location.hash = '{section}'")
        browser.wait(f"!!document.querySelector('#{section} {shown}')")
    browser.resize(390, 844)
    assert not browser.evaluate(TOO_WIDE)
    assert browser.evaluate(UNNAMED) == []


def test_a_page_that_would_be_too_large_has_its_parts_beside_it(browser, micro, tmp_path, monkeypatch):
    monkeypatch.chdir(micro)
    monkeypatch.setattr(packing, "LIMIT", 0)
    given = config.read(Path("config/micro.yaml"))
    study = config.load(given)
    jobs = Jobs(study)
    page.write(
        str(tmp_path / "report.html"), results="results/micro", config=given, names=list(jobs.roles()), figures=["figure3"],
        tables=["scores"], files=jobs.files(*PARTS), settings=jobs.settings(*PARTS), claim_files=study.claims,
        captions="workflow/report",
    )  # fmt: skip
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    begun(browser, (tmp_path / "report.html").as_uri() + "#examples?run=one&task=counting&find=shapes")
    browser.wait("document.querySelector('#examples article img')?.naturalWidth > 0")
    assert browser.evaluate("document.querySelectorAll('#examples ol a').length") > 0
    asked = {
        url.removeprefix(tmp_path.as_uri() + "/").split("#")[0]
        for url in browser.requests()
        if not url.startswith("data:")
    }
    assert {"report.html", "report/index.js", "report/task.counting.js", "report/images.js"} < asked
    assert all(name.startswith("report") for name in asked)


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    results = tmp_path_factory.mktemp("root") / "results" / "made"
    settings = generated_study.write(results, examples=70)
    swaps = generated_study.write_swaps(results)
    maps = generated_study.write_attention(results)
    with Viewer(results, settings, swaps) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        started.made = results, settings, maps
        yield started
        started.shutdown()


@pytest.fixture
def address(viewer):
    return f"http://127.0.0.1:{viewer.server_port}/"


def chosen(browser) -> str:
    return browser.evaluate("document.querySelector('#examples article h3').textContent")


def choose(browser, section: str, name: str, value: str) -> None:
    browser.evaluate(
        f"(() => {{ const control = document.querySelector('#{section} form').elements[{json.dumps(name)}]; control.value = {json.dumps(value)};"
        " control.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )


def test_filters_flips_search_and_links(browser, viewer, address):
    examples = Examples(viewer.made[0], **viewer.made[1])
    sums = examples.index()["tasks"]["sums"]
    verdicts = {role: sums["verdicts"][sums["asked"].index((f"one.{role}", "image"))].lower() for role in ("IN", "RL")}
    flips = [
        id
        for id, old, new in zip(sums["ids"], verdicts["IN"], verdicts["RL"], strict=True)
        if old != "r" and new == "r"
    ]
    begun(browser, address)
    status = "document.querySelector('#examples [role=status]').textContent"
    assert browser.evaluate(status) == "210 of 210 examples"
    choose(browser, "examples", "task", "sums")
    browser.wait(f"{status} === '70 of 70 examples'")
    browser.evaluate("document.querySelectorAll('#examples [data-preset]')[1].click()")
    browser.wait(f"{status} === '{len(flips)} of 70 examples'")
    assert browser.evaluate("[...document.querySelectorAll('#examples ol b')].map(b => b.textContent)") == flips
    choose(browser, "examples", "find", "5 +")
    expected = [id for id in flips if sums["ids"].index(id) in examples.search("sums", "5 +", "one")]
    browser.wait(f"{status} === '{len(expected)} of 70 examples'")
    # The filters come back from the address, in another window.
    shared = browser.evaluate("location.href")
    browser.open("about:blank")
    begun(browser, shared)
    assert browser.evaluate("[...document.querySelectorAll('#examples ol b')].map(b => b.textContent)") == expected
    controls = "Object.fromEntries(new FormData(document.querySelector('#examples form')))"
    assert browser.evaluate(controls) == {"run": "one", "task": "sums", "find": "5 +", "category": "", "role": "IN", "of": "", "is": "not", "role2": "RL", "of2": "", "is2": "right"}  # fmt: skip
    # Each example has an address, whatever its id.
    browser.open("about:blank")
    begun(browser, f"{address}#examples?run=one-2&at=sums%2Fsums+%231%3F%26")
    assert chosen(browser) == "sums #1?&"
    link = browser.evaluate("document.querySelector('#examples article a').href")
    browser.open("about:blank")
    begun(browser, link)
    assert chosen(browser) == "sums #1?&"
    assert browser.evaluate("document.querySelector('#examples form').elements.run.value") == "one-2"
    # What an address has wrong is said, or dropped.
    browser.evaluate(
        "location.hash = '#examples?run=constructor&task=toString&role=nobody&is=great&at=constructor%2F1'"
    )
    browser.wait("document.querySelector('#examples article').textContent.includes('no example constructor/1')")
    assert browser.evaluate(status) == "210 of 210 examples"
    browser.evaluate("location.hash = '#examples?run=one&at=sums%2Fnowhere'")
    browser.wait("document.querySelector('#examples article').textContent.includes('no example sums/nowhere')")


def test_all_answers_of_an_example_as_text(browser, viewer, address):
    """What a model wrote is shown, and never becomes part of the page."""
    begun(browser, f"{address}#examples?run=one&at=shapes%2Fshapes%2F0")
    article = "document.querySelector('#examples article')"
    browser.wait(f"{article}.querySelectorAll('img').length === 2")
    rows = browser.evaluate(
        f"[...{article}.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert [row[0] for row in rows] == ["Base", "IN", "IN:RL:RL", "RL"] * 3
    assert {row[2] for row in rows} == {generated_study.HOSTILE}
    assert browser.evaluate(f"{article}.querySelectorAll('script').length") == 0
    browser.wait("[...document.images].every(image => image.naturalWidth > 0)")
    examples = Examples(viewer.made[0], **viewer.made[1])
    assert generated_study.HOSTILE in examples.questions("shapes", [0])[0]["prompt"]


def test_the_keyboard_goes_through_the_list_and_its_pages(browser, address):
    begun(browser, f"{address}#examples?task=words")
    browser.evaluate("document.querySelector('#examples ol a').focus()")
    browser.press("ArrowDown")
    browser.wait("document.querySelector('#examples article h3').textContent === 'words #1?&'")
    browser.press("j")
    browser.wait("document.querySelector('#examples article h3').textContent === 'words/2'")
    browser.press("k")
    browser.wait("document.querySelector('#examples article h3').textContent === 'words #1?&'")
    assert browser.evaluate("document.activeElement.textContent").startswith("words #1?&")
    assert browser.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    browser.evaluate("document.querySelectorAll('#examples [data-pages]')[1].click()")
    browser.wait("document.querySelector('#examples ol').start === 51")
    assert browser.evaluate("document.querySelectorAll('#examples ol li').length") == 20
    assert "at=words%2Fwords%2F51" in browser.evaluate("location.hash")
    assert browser.evaluate(UNNAMED) == []
    # Where the keyboard is can be seen.
    browser.evaluate("document.querySelector('#examples ol a').focus()")
    browser.press("Tab")
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_swap_explorer_shows_the_answer_at_each_layer(browser, address):
    browser.open(f"{address}#swaps?function=ocr&pair=ocr2&layer=5")
    browser.wait("!!document.querySelector('#swaps tbody tr')")
    rows = "[...document.querySelectorAll('#swaps tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    rate = "33 % [27, 43]"
    assert browser.evaluate(rows) == [
        ["hidden states at this layer", "s2", "changed", rate],
        ["keys and values at this layer only", "s2", "changed", rate],
    ]
    captions = "[...document.querySelectorAll('#swaps figcaption')].map(caption => caption.textContent)"
    assert browser.evaluate(captions) == ["target: correct answer t2", "source: correct answer s2"]
    browser.evaluate("document.querySelector('#swaps input[type=range]').focus()")
    browser.press("ArrowRight")
    assert [row[1:3] for row in browser.evaluate(rows)] == [["t2", "not changed"]] * 2
    for _ in range(5):
        browser.press("ArrowRight")
    assert [row[1:3] for row in browser.evaluate(rows)] == [["t2", "not changed"], ["(empty)", "unreadable"]]
    choose(browser, "swaps", "layer", "-1")
    assert browser.evaluate("document.querySelector('#swaps .value').textContent") == "nothing swapped"
    choose(browser, "swaps", "function", "counting")
    browser.wait("document.querySelector('#swaps figcaption').textContent === 'target: correct answer t0'")
    assert (
        browser.evaluate("document.querySelector('#swaps a').getAttribute('href')")
        == "#swaps?function=counting&pair=counting0&layer=-1"
    )
    assert browser.evaluate("document.querySelectorAll('#swaps svg polyline').length") == 2


def test_attention_on_the_image_is_the_files(browser, viewer, address):
    maps = viewer.made[2]
    browser.open(f"{address}#attention-maps")
    browser.wait("!!document.querySelector('#attention-maps canvas')")
    choose(browser, "attention-maps", "text", "RL")
    cell = "document.querySelector('#attention-maps .cell').textContent"
    captions = "[...document.querySelectorAll('#attention-maps figcaption')].map(caption => caption.textContent)"

    def expected(layers: slice, at: int) -> list[float]:
        old, new = (
            maps[f"one.{model}", "one.RL"]["sums/0"].astype(float)[layers].mean(0)[at] for model in ("IN", "RL")
        )
        return [old, new, new - old]

    def shown() -> list[float]:
        return [float(part.rsplit(" ", 1)[1]) for part in browser.evaluate(cell).split(": ")[1].split(", ")]

    choose(browser, "attention-maps", "layer", "7")
    assert shown() == pytest.approx(expected(slice(7, 8), 0), abs=0.004)
    browser.evaluate("document.querySelector('#attention-maps canvas').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        browser.press(key)
    assert browser.evaluate(cell).startswith("Row 2, column 3: IN ")
    assert shown() == pytest.approx(expected(slice(7, 8), 6), abs=0.004)
    choose(browser, "attention-maps", "over", "Mid")
    assert shown() == pytest.approx(expected(slice(4, 8), 6), abs=0.004)
    mass = float(browser.evaluate(captions)[0].split("image ")[1].split(";")[0])
    assert mass == pytest.approx(maps["one.IN", "one.RL"]["sums/0"].astype(float)[4:8].mean(0).sum(), abs=0.02)
    assert browser.evaluate("document.querySelector('#attention-maps input[type=range]').disabled")
    # A view has an address.
    choose(browser, "attention-maps", "example", "2")
    browser.wait("document.querySelector('#attention-maps img').alt === 'Image of sums/2'")
    link, seen = browser.evaluate("document.querySelector('#attention-maps a').href"), browser.evaluate(captions)
    browser.open("about:blank")
    browser.open(link)
    browser.wait("document.querySelector('#attention-maps img')?.alt === 'Image of sums/2'")
    assert browser.evaluate(captions) == seen
    browser.evaluate("location.hash = '#attention-maps?run=constructor&example=none&text=toString&over=x&layer=99'")
    browser.wait("document.querySelector('#attention-maps img').alt === 'Image of sums/0'")
    assert browser.evaluate("document.querySelector('#attention-maps .value').textContent") == "mean of Mid"


def test_a_viewer_that_was_stopped_is_said(chromium, viewer):
    results, settings, _ = viewer.made
    with Viewer(results, settings, None) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        begun(chromium, f"http://127.0.0.1:{other.server_port}/#examples")
        other.shutdown()
    choose(chromium, "examples", "task", "sums")
    chromium.wait("document.querySelector('#examples [role=status]').textContent.startsWith('Cannot be shown: ')")


def test_on_a_phone_nothing_is_wider_than_the_page(browser, address):
    browser.resize(390, 844)
    begun(browser, f"{address}#examples")
    for section in ("swaps", "attention-maps"):
        browser.evaluate(f"location.hash = '{section}'")
        browser.wait(f"!!document.querySelector('#{section} figure')")
    assert not browser.evaluate(TOO_WIDE)
    heights = browser.evaluate(
        "[...document.querySelectorAll('.filters button, .pages button, .filters select')].filter(n => n.offsetParent).map(n => n.offsetHeight)"
    )
    assert min(heights) >= 24  # WCAG 2.2, target size


def test_text_stands_out_from_what_is_behind_it(browser, address):
    """WCAG AA: 4.5 to 1, of each color of text on each background it has here."""
    begun(browser, f"{address}#examples?role=RL")
    browser.evaluate("location.hash = 'swaps'")
    browser.wait("!!document.querySelector('#swaps tbody tr')")
    ratios = browser.evaluate("""(() => {
      const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (node) => {
        for (; node; node = node.parentElement) {
          const color = getComputedStyle(node).backgroundColor;
          if (color !== "rgba(0, 0, 0, 0)") return color;
        }
        return "rgb(255, 255, 255)";
      };
      return [...document.querySelectorAll("main *")].filter((node) => !node.disabled && !node.closest("select[disabled]") && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
        .map((node) => {
          const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
          return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 80)];
        });
    })()""")
    assert len(ratios) > 100
    assert [found for found in ratios if found[0] < 4.5] == []
