"""The examples behind the numbers: as gathered from the files, as packed with the report, and as served to this machine alone."""

import base64
import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import threading

import generated_study
import numpy as np
import pandas as pd
import pytest

from frankenstein.core.errors import InputError
from frankenstein.data.tasks import read_examples, read_pairs
from frankenstein.inference import prompts, responses
from frankenstein.report import attention_maps, packing, swap_pairs
from frankenstein.report.examples import Examples
from frankenstein.report.links import Links
from frankenstein.report.server import Viewer


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(results, settings, table of swaps, attention maps) of a generated study."""
    results = tmp_path_factory.mktemp("root") / "results" / "made"
    settings = generated_study.write(results)
    return results, settings, generated_study.write_swaps(results), generated_study.write_attention(results)


@pytest.fixture
def examples(written):
    return Examples(written[0], **written[1])


def unpacked(text: str):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_every_answer_with_its_verdict_against_the_whole_files(written, examples):
    results, settings, *_ = written
    index, seen = examples.index(), 0
    assert [run["name"] for run in index["runs"]] == ["one", "one-2"]
    assert index["runs"][1]["roles"] == {
        "Base": "base",
        "IN": "one-2.IN",
        "IN:RL:RL": "one-2.IN-RL-RL",
        "RL": "one-2.RL",
    }
    assert index["metrics"]["M_vis"] == {"task": "shapes", "rule": {"image": True, "black": False}}
    places = {task: {id: i for i, id in enumerate(of["ids"])} for task, of in index["tasks"].items()}
    answers = {task: examples.answers(task, range(len(of["ids"]))) for task, of in index["tasks"].items()}
    for checkpoint in settings["roles"]:
        grades = pd.read_csv(results / "grades" / f"{checkpoint}.csv", keep_default_na=False)
        said = {}
        for path in (results / "responses").glob(f"{checkpoint}.?.jsonl"):
            said |= {(r["task"], r["id"], r["condition"]): r["response"] for r in responses.read(path)[1]}
        for row in grades.itertuples():
            of, i = index["tasks"][row.task], places[row.task][row.id]
            column = of["asked"].index((checkpoint, row.condition))
            code = row.verdict[0].upper() if row.well_formed else row.verdict[0]
            assert of["verdicts"][column][i] == code
            assert answers[row.task][i][column] == [
                said[row.task, row.id, row.condition],
                str(row.extracted),
                row.reason,
            ]
            seen += 1
    assert seen == sum(len(verdicts) for of in index["tasks"].values() for verdicts in of["verdicts"]) == 7 * 12 * 6


def test_a_question_is_as_it_was_asked(written, examples):
    folder = written[0] / "data"
    for task in generated_study.CONDITIONS:
        asked = read_examples(folder / f"{task}.jsonl")
        others = prompts.with_other_images(asked, folder, seed=1)
        for example, other, shown in zip(asked, others, examples.questions(task, range(12)), strict=True):
            assert (shown["prompt"], shown["gold"]) == (example.prompt, example.answer)
            assert shown["image"] == (f"data/{example.image}" if example.image else None)
            assert shown["other"] == (f"data/{other.meta['other_image']}" if task == "shapes" else None)
            described = f"the image shows {example.description}. {example.prompt}"
            assert shown["described"] == (described if task == "sums" else None)


def test_a_description_made_by_the_study_takes_the_place_of_the_examples_own(tmp_path):
    settings = generated_study.write(tmp_path / "made", 3)
    made = [{"id": f"sums/{i}", "description": "a b c", "error": None} for i in (0, 2)]
    (tmp_path / "made/data/sums.descriptions.jsonl").write_text("\n".join(map(json.dumps, made)))
    shown = Examples(tmp_path / "made", **settings).questions("sums", range(3))
    assert [row["described"].split(". ")[0] for row in shown] == [
        "the image shows a b c",
        "the image shows 1 shapes",
        "the image shows a b c",
    ]


def test_search_against_looking_everywhere(written, examples):
    index = examples.index()
    for text in ("LOOKS", "2 + 2", "#1?&", "one-2.rl looks", "onerror", "nowhere", "8"):
        for task, of in index["tasks"].items():
            expected = []
            for i, id in enumerate(of["ids"]):
                question, answers = examples.questions(task, [i])[0], examples.answers(task, [i])[0]
                members = set(index["runs"][0]["roles"].values())
                said = [
                    answer[0]
                    for (checkpoint, _), answer in zip(of["asked"], answers, strict=True)
                    if checkpoint in members
                ]
                if any(
                    text.casefold() in part.casefold() for part in (id, question["prompt"], question["gold"], *said)
                ):
                    expected.append(i)
            assert examples.search(task, text, "one") == expected


def test_what_is_not_there_is_left_out(tmp_path):
    """As after a failed run: a checkpoint without responses, one without grades, a task without questions."""
    results = tmp_path / "made"
    settings = generated_study.write(results)
    (results / "responses" / "one.IN.0.jsonl").unlink()
    (results / "grades" / "one.RL.csv").unlink()
    (results / "data" / "words.jsonl").unlink()
    examples = Examples(results, **settings)
    index = examples.index()
    assert list(index["tasks"]) == ["shapes", "sums"]
    assert "one.RL" not in {checkpoint for checkpoint, _ in index["tasks"]["sums"]["asked"]}
    column = index["tasks"]["sums"]["asked"].index(("one.IN", "image"))
    said = [answers[column][0] for answers in examples.answers("sums", range(12))]
    assert [text is None for text in said] == [True, False] * 6
    parts = packing.Parts(results)
    packing.add_examples(parts, examples)
    assert set(parts.texts) == {"index", "task.shapes", "task.sums"}
    nothing = packing.Parts(tmp_path)
    packing.add_examples(nothing, Examples(tmp_path, **settings))
    assert nothing.texts == {}


def test_shards_of_an_earlier_run_do_not_count(tmp_path):
    settings = generated_study.write(tmp_path / "made", shards=2)
    old = tmp_path / "made/responses/one.IN.2.jsonl"
    _, records = responses.read(tmp_path / "made/responses/one.IN.1.jsonl")
    responses.write(old, {"checkpoint": "one.IN"}, [record | {"response": "old"} for record in records])
    responses.write(
        tmp_path / "made/responses/one.IN.retrained.0.jsonl",
        {"checkpoint": "x"},
        [record | {"response": "old"} for record in records],
    )
    found = Examples(tmp_path / "made", **settings).answers("sums", range(12))
    assert "old" not in [answer[0] for answers in found for answer in answers]


def test_parts_are_packed_once_each_and_the_same_every_time(written, examples):
    def made():
        parts = packing.Parts(written[0])
        packing.add_examples(parts, examples)
        return parts

    one, other = made(), made()
    assert one.inside() == other.inside()
    found = {name: unpacked(text) for name, text in one.inside().items()}
    assert found["index"] == json.loads(json.dumps(examples.index()))
    assert found["task.sums"]["answers"] == examples.answers("sums", range(12))
    images = found["images"]
    assert len(images["uris"]) == 5  # of two tasks, which have the same
    assert len(images["names"]) == 10
    for path, name in images["names"].items():
        kind, data = images["uris"][name].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (written[0] / path).read_bytes()


def test_parts_beside_the_page(written, examples, tmp_path):
    parts = packing.Parts(written[0])
    packing.add_examples(parts, examples)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "old.js").write_text("")
    parts.beside(tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").glob("*.js")} == {"index.js", "task.shapes.js", "task.sums.js", "task.words.js", "images.js"}  # fmt: skip
    name, text = json.loads(f"[{(tmp_path / 'report/task.sums.js').read_text().strip()[len('receive(') : -2]}]")
    assert name == "task.sums"
    assert unpacked(text)["questions"] == examples.questions("sums", range(12))
    names = unpacked(json.loads(f"[{(tmp_path / 'report/images.js').read_text().strip()[len('receive(') : -2]}]")[1])[
        "names"
    ]
    for path, copy in names.items():
        assert (tmp_path / "report/images" / copy).read_bytes() == (written[0] / path).read_bytes()


def test_swaps_pair_by_pair(written):
    results, _, table, _ = written
    found = swap_pairs.swaps(results, table)
    frame = pd.read_csv(table, keep_default_na=False, dtype={"response": str})
    assert found["layers"] == generated_study.LAYERS
    for function, of in found["functions"].items():
        assert [pair["id"] for pair in of["pairs"]] == [
            pair.id for pair in read_pairs(results / "pairs" / f"{function}.jsonl")
        ]
        for pair in of["pairs"]:
            rows = frame[frame.id == pair["id"]]
            assert pair["target"] == {"image": f"pairs/{function}/{pair['id'][-1]}_t.png", "gold": f"t{pair['id'][-1]}"}
            for mode, answers in pair["answers"].items():
                mine = pd.concat([rows[rows["mode"] == "none"], rows[rows["mode"] == mode]]).sort_values("layer")
                assert [found["texts"][at] for at in answers["said"]] == mine.response.to_list()
                assert list(answers["codes"]) == ["f" if failed else "c" if changed else "s" for failed, changed in zip(mine.failed, mine.changed, strict=True)]  # fmt: skip
        assert [len(points) for points in of["rates"].values()] == [1 + generated_study.LAYERS] * 2
    (results / "figures" / "figure4.csv").rename(results / "figures" / "away.csv")
    assert swap_pairs.swaps(results, table)["functions"]["ocr"]["rates"] == {}
    (results / "figures" / "away.csv").rename(results / "figures" / "figure4.csv")


def test_attention_maps_of_what_both_read(written, examples, monkeypatch):
    results, settings, _, maps = written
    found = attention_maps.attention(results, examples, "sums", settings["runs"])
    assert found["cuts"] == [4, 8]
    assert [len(run["examples"]) for run in found["runs"].values()] == [3, 3]
    for run, of in found["runs"].items():
        for example in of["examples"]:
            assert (example["rows"], example["columns"]) == generated_study.GRID
            for text, by_model in example["maps"].items():
                assert (
                    example["texts"][text]
                    == examples.said(f"{run}.{text}", "sums", "image", [example["id"]])[example["id"]]
                )
                for model, packed in by_model.items():
                    true = maps[f"{run}.{model}", f"{run}.{text}"][example["id"]].astype(float)
                    values = np.frombuffer(base64.b64decode(packed["values"]), np.uint8).reshape(true.shape)
                    shown = values / 255 * np.array(packed["top"])[:, None]
                    assert np.abs(shown - true).max() <= true.max() / 255
    monkeypatch.setattr(attention_maps, "_CELLS", 2 * 4 * 2 * 144)
    assert [
        len(run["examples"])
        for run in attention_maps.attention(results, examples, "sums", settings["runs"])["runs"].values()
    ] == [2, 2]
    assert attention_maps.attention(results, examples, "sums", {"one": ["one", 1, "one.IN", "no such"]})["runs"] == {}
    monkeypatch.undo()
    ungraded = Examples(results, **settings | {"roles": {}})  # a study of attention alone
    assert ungraded.index()["tasks"] == {}
    assert attention_maps.attention(results, ungraded, "sums", settings["runs"]) == found


@pytest.mark.parametrize(
    ("table", "row", "column", "address"),
    [
        ("scores", {"role": "RL", "metric": "M_vis"}, "value", "run=one-2&task=shapes&role=RL&is=right&of=M_vis"),
        ("scores", {"role": "IN:RL:RL", "metric": "sums"}, "abstained", "run=one-2&task=sums&role=IN%3ARL%3ARL&is=abstained"),
        ("scores", {"role": "RL", "metric": "format, black"}, "value", "run=one-2&role=RL&is=right&of=format%2C+black"),
        ("scores", {"role": "RL", "metric": "M_vis"}, "abstained", None),
        ("paired", {"a": "IN", "b": "RL", "metric": "M_rea"}, "n01", "run=one-2&task=words&role=IN&role2=RL&is=not&is2=right&of=M_rea&of2=M_rea"),
        ("differences", {"from": "IN", "to": "RL", "metric": "sums"}, "difference", "run=one-2&task=sums&role=IN&role2=RL&is2=differs"),
        ("categories", {"role": "IN", "task": "words", "category": "a&b"}, "wrong", "run=one-2&task=words&category=a%26b&role=IN&is=wrong"),
        ("table2", {"source": "study", "ability": "Vision", "n": 3, "RL": 1, "RL low": 0}, "RL", "run=one-2&task=shapes&role=RL&is=right&of=M_vis"),
        ("table2", {"source": "paper", "ability": "Vision", "n": 3, "RL": 1, "RL low": 0}, "RL", None),
        ("rewarded", {"tasks": "sums", "IN": 1}, "IN", "run=one-2&task=sums&role=IN&is=right"),
        ("rewarded", {"tasks": "sums, words", "IN": 1}, "IN", "run=one-2&task=sums%2Cwords&role=IN&is=right"),
        ("figure2", {"ability": "Average benchmark", "stage": "RL"}, "value", "run=one-2&task=shapes%2Csums&role=RL&is=right"),
        ("energy", {"RL": 1}, "RL", None),
    ],
)  # fmt: skip
def test_where_a_cell_leads(table, row, column, address):
    links = Links({"one": ["one", 1], "one-2": ["one", 2]}, generated_study.ABILITIES, ["shapes", "sums"], {"RL"})
    found = links.of(table, {"recipe": "one", "run": "2", **row})
    assert found.get(column) == (address and f"#examples?{address}")
    assert links.of(table, {"recipe": "one", "run": "mean", **row}) == {}


class Client:
    """Asks a viewer that runs in a thread."""

    def __init__(self, viewer: Viewer):
        self.viewer = viewer

    def __call__(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.viewer.server_port, timeout=10)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


@pytest.fixture(scope="module")
def client(written):
    results, settings, swaps, _ = written
    (results.parent / "secret.png").write_bytes(b"secret")
    (results / "data" / "secret.txt").write_text("secret")
    (results / "data" / "shapes" / "out.png").symlink_to(results.parent / "secret.png")
    with Viewer(results, settings, swaps) as viewer:
        threading.Thread(target=viewer.serve_forever, daemon=True).start()
        yield Client(viewer)
        viewer.shutdown()


def test_the_viewer_answers_what_the_page_asks(client, written, examples):
    for name, expected in (
        ("index", examples.index()),
        ("swaps", swap_pairs.swaps(written[0], written[2])),
        ("attention", attention_maps.attention(written[0], examples, "sums", written[1]["runs"])),
    ):
        assert json.loads(client(f"/part?name={name}")[2]) == json.loads(json.dumps(expected))
    assert json.loads(client("/questions?task=sums&at=3,1")[2]) == examples.questions("sums", [3, 1])
    answers = json.loads(client("/answers?task=sums&at=1&run=one-2")[2])
    assert answers == examples.answers("sums", [1], "one-2")
    asked = examples.index()["tasks"]["sums"]["asked"]
    for (checkpoint, _), answer, any_run in zip(asked, answers[0], examples.answers("sums", [1])[0], strict=True):
        assert answer == (None if checkpoint.startswith("one.") else any_run)
    assert json.loads(client("/search?task=sums&text=2+%2B&run=one")[2]) == examples.search("sums", "2 +", "one")
    status, headers, body = client("/image/data/shapes/0.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert body == (written[0] / "data/shapes/0.png").read_bytes()
    status, headers, body = client("/")
    assert b'data-source="server"' in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert client("/", "HEAD")[2] == b""


def test_the_viewer_answers_nothing_else(client, written):
    for path in (
        "/image/data/secret.txt",
        "/image/data/shapes/out.png",
        "/image/secret.png",
        "/image/../secret.png",
        "/image/data/%2e%2e/%2e%2e/secret.png",
        "/image/data/..%2f..%2fsecret.png",
        f"/image/{written[0].parent / 'secret.png'}",
        f"/image//{written[0].parent / 'secret.png'}",
        "/image/data/shapes",
        "/image/data/shapes/9.png",
        "/config",
        "/grades/base.csv",
        "/part?name=nothing",
        "/questions?task=nothing&at=1",
        "/questions?task=sums&at=99",
    ):
        status, _, body = client(path)
        assert status == 404, path
        assert b"secret\n" not in body
    for path in (
        "/questions?task=sums&at=x",
        "/questions?task=sums&at=-1",
        f"/questions?task=sums&at={'1,' * 1000}1",
        "/questions?task=sums",
        "/part",
        "/part?name=index&root=/etc",
        "/image/data/%00.png",
    ):
        assert client(path)[0] == 400, path


def test_the_viewer_is_for_this_machine_alone(client):
    assert client.viewer.server_address[0] == "127.0.0.1"
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        assert client("/", method)[0] == 501
    port = client.viewer.server_port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        assert client("/", Host=host)[0] == 403, host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
        assert client("/", Host=host)[0] == 200
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError):  # noqa: PT011 (refused, or no such place, by the machine)
            socket.create_connection((own, port), timeout=2).close()


def test_a_viewer_of_nothing_says_so(tmp_path):
    with pytest.raises(InputError, match="no graded examples yet"):
        Viewer(tmp_path, generated_study.settings(), None)


@pytest.mark.slow
def test_a_hundred_thousand_responses_open_in_a_second(tmp_path):
    """Processor time from the start of the process to its first page, index, list and example: others may use the machine."""
    results = tmp_path / "results" / "large"
    settings = generated_study.write(results, examples=2400, padding=400)
    assert sum(path.read_bytes().count(b"\n") - 1 for path in results.glob("responses/*.jsonl")) > 100_000
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    program = (
        "import json, pathlib, sys; from frankenstein.report.server import Viewer\n"
        "settings = json.loads(pathlib.Path(sys.argv[2]).read_text())\n"
        "viewer = Viewer(pathlib.Path(sys.argv[1]), settings, None); print(viewer.server_port, flush=True); viewer.serve_forever()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, results, tmp_path / "settings.json"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(process.stdout.readline())
        for path in ("/", "/part?name=index", "/questions?task=shapes&at=2399", "/answers?task=shapes&at=2399&run=one"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == 200
    finally:
        process.kill()
        used = os.wait4(process.pid, 0)[2]
        process.stdout.close()
    assert used.ru_utime + used.ru_stime < 2  # measured: 0.8 s
