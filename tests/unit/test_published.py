import io
import json
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from frankenstein.core.errors import InputError
from frankenstein.data import published, published_pairs, tasks
from frankenstein.grading import verdicts
from frankenstein.inference import descriptions


def picture(color="red", kind="PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(data, kind)
    return data.getvalue()


def cell(color="red"):
    """An image as the Hub's parquet files embed it."""
    return {"bytes": picture(color), "path": "1.png"}


VISTA = {
    "question": "How many?", "image": "images/1.jpg", "decoded_image": cell(), "choices": None, "unit": None,
    "precision": None, "answer": "3", "question_type": "free_form", "answer_type": "integer", "pid": "1",
    "metadata": {"category": "general-vqa", "task": "t", "context": "c", "source": "s", "language": "english", "grade": "g"},
    "query": "Hint: integer.\nQuestion: How many?",
}  # fmt: skip
VERSE = {
    "sample_index": "1", "problem_index": "1", "problem_version": "Text Dominant", "question": "Find x.\nChoices:\nA:65°\nB:35°",
    "image": cell(), "answer": "A", "question_type": "multi-choice",
    "metadata": {"split": "testmini", "source": "s", "subject": "Plane Geometry", "subfield": "Angle"},
    "query_wo": "directly", "query_cot": "step by step", "question_for_eval": "Find x.\nChoices:\nA:65°\nB:35°",
}  # fmt: skip
ONLY = VERSE | {"sample_index": "2", "problem_version": "Vision Only", "question": "", "image": cell("blue")}
VISION = {
    "id": "4", "question": "Which piece fits?\n<image1>", "options": ["A", "B", "C"], "image": "images/4.jpg",
    "decoded_image": cell(), "answer": "B", "solution": None, "level": 2, "subject": "combinatorics",
}  # fmt: skip
SEVERAL = VISION | {"id": "5", "question": "Is <image1> in <image2>?", "options": []} | {"answer": "2\\pi"}
LOGIC = {"question": "Which follow? (A-D)", "answer": "A, C", "skill": ["inductive"], "image": cell(), "id": "v1_1"}
LETTER = LOGIC | {"id": "v1_2", "question": "How much? (A) 360 ohm (B) 24 ohm", "answer": "B"}
DIGIT = LOGIC | {"id": "v1_3", "question": "Which one? Select from 1-5", "answer": "3"}


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def made(tmp_path, benchmark, rows, **options) -> list[tasks.Example]:
    path = parquet(tmp_path / "published" / "test.parquet", rows)
    out = tmp_path / "task.jsonl"
    published.dataset("task", benchmark, [path], out, tmp_path / "task", **options)
    return tasks.read_examples(out)


def test_mathvista(tmp_path):
    choice = VISTA | {
        "pid": "2", "question_type": "multi_choice", "answer_type": "text", "choices": ["red", "blue"], "answer": "blue",
        "decoded_image": cell("blue"),
    }  # fmt: skip
    decimal = VISTA | {"pid": "3", "answer_type": "float", "precision": 2.0, "unit": "m", "answer": "1.25"}
    first, second, third = made(tmp_path, "mathvista", [VISTA, choice, decimal], instruction="Solve.\n")
    assert (first.id, first.answer, first.answer_type, first.category) == ("1", "3", "integer", "general-vqa")
    assert first.prompt == "Solve.\nHow many?"
    assert second.prompt == "Solve.\nHow many?\nChoices:\n(A) red\n(B) blue"
    assert second.choices == ["red", "blue"]
    assert (third.precision, third.unit) == (2, "m")
    image = tasks.open_image(tmp_path / second.image)
    assert image.size == (40, 30)
    assert image.getpixel((0, 0)) == (0, 0, 255)
    assert (tmp_path / second.image).read_bytes() == choice["decoded_image"]["bytes"]
    assert made(tmp_path, "mathvista", [VISTA], as_published=True)[0].prompt == VISTA["query"]


def test_mathverse_in_its_versions(tmp_path):
    dominant, only = made(tmp_path, "mathverse", [VERSE, ONLY])
    assert dominant.prompt == VERSE["question"]
    assert dominant.choices == ["65°", "35°"]
    assert (dominant.category, dominant.meta["subject"]) == ("Text Dominant", "Plane Geometry")
    assert only.prompt == "Answer the question in the image."
    assert only.choices == ["65°", "35°"]
    assert made(tmp_path, "mathverse", [ONLY], as_published=True)[0].prompt == "step by step"
    assert [e.id for e in made(tmp_path, "mathverse", [VERSE, ONLY], category="Vision Only")] == ["2"]


def test_mathvisions_image_marks(tmp_path):
    one, several = made(tmp_path, "mathvision", [VISION, SEVERAL])
    assert one.prompt == "Which piece fits?\nChoices:\n(A) A\n(B) B\n(C) C"
    assert several.prompt == "Is image 1 in image 2?"
    assert several.choices is None
    assert (one.category, one.meta["level"]) == ("combinatorics", "2")


def test_logicvista_from_the_hub_and_from_its_repository(tmp_path):
    several, letter, digit = made(tmp_path, "logicvista", [LOGIC, LETTER, DIGIT])
    assert several.choices is None
    assert letter.choices == ["360 ohm", "24 ohm"]
    said = [(several, "C and A"), (several, "A"), (letter, "24 ohm"), (letter, "(A)"), (digit, "3"), (digit, "4")]
    assert [grade.verdict for grade in verdicts.grades(said)] == ["right", "wrong", "right", "wrong", "right", "wrong"]
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "images" / "v1_0.png").write_bytes(picture())
    row = {key: LOGIC[key] for key in ("question", "answer", "skill")} | {"imagename": "v1_0.png"}
    (root / "dataset.json").write_text(json.dumps({"v1_0": row}))
    published.dataset("logic", "logicvista", [root / "dataset.json"], tmp_path / "l.jsonl", tmp_path / "l")
    (example,) = tasks.read_examples(tmp_path / "l.jsonl")
    assert (example.id, example.category) == ("v1_0", "inductive")
    assert tasks.open_image(tmp_path / example.image).size == (40, 30)


def test_text_benchmarks_whole(shared, tmp_path):
    """As published: every row is read, and its own answer is right."""
    for benchmark, n in (("math500", 500), ("gsm8k", 1319)):
        path = tmp_path / f"{benchmark}.jsonl"
        published.dataset("t", benchmark, [shared / benchmark / "test.jsonl"], path, tmp_path / benchmark)
        examples = tasks.read_examples(path)
        assert len(examples) == n
        grades = verdicts.grades([(example, rf"so \boxed{{{example.answer}}}") for example in examples])
        assert [e.id for e, g in zip(examples, grades, strict=True) if g.verdict != "right"] == []


@pytest.fixture
def vista(shared, tmp_path):
    """MathVista's own annotations, with an image of ours for each."""
    root = tmp_path / "vista"
    (root / "images").mkdir(parents=True)
    rows = json.loads((shared / "mathvista" / "testmini.json").read_text())
    for row in rows.values():
        (root / row["image"]).write_bytes(picture(kind="JPEG" if row["image"].endswith("jpg") else "PNG"))
    (root / "testmini.json").write_text(json.dumps(rows))
    return root / "testmini.json"


@pytest.mark.parametrize(("category", "n"), [("general-vqa", 460), ("math-targeted-vqa", 540)])
def test_the_papers_sample(vista, tmp_path, category, n):
    found = published.read("mathvista", [vista], False)
    assert sum(example.category == category for example in found) == n
    published.dataset("t", "mathvista", [vista], tmp_path / "t.jsonl", tmp_path / "t", category=category, n=100)
    ids = [example.id for example in tasks.read_examples(tmp_path / "t.jsonl")]
    rows = [example.id for example in found if example.category == category]
    at = np.sort(np.random.RandomState(123).choice(n, 100, replace=False))
    assert ids == [rows[i] for i in at]
    assert len(set(ids)) == 100


def test_mathvistas_own_wording_is_rebuilt_where_it_is_not_published(vista):
    found = {example.id: example for example in published.read("mathvista", [vista], True)}
    assert found["1"].prompt.startswith(
        "Hint: Please answer the question requiring a floating-point number with one decimal"
    )
    assert found["2"].prompt.endswith("Question: what is the total volume of the measuring cup? (Unit: g)")


def test_public_descriptions_and_those_that_are_missing(vista, shared, tmp_path):
    examples = published.read("mathvista", [vista], False)
    records = descriptions.from_file(shared / "mathvista" / "captions_bard.json", examples)
    assert len(records) == 1000
    assert sum(record["description"] is not None for record in records) == 930
    lines = tmp_path / "d.jsonl"
    lines.write_text("".join(json.dumps(record) + "\n" for record in records))
    with_them = descriptions.described(examples, lines)
    assert sum(example.description is None for example in with_them) == 70


@pytest.mark.parametrize(
    ("benchmark", "rows", "options", "says"),
    [
        ("mathvista", [VISTA | {"decoded_image": None, "image": ""}], {}, r"row 0: mathvista '1' has no image"),
        ("mathvista", [VISTA | {"decoded_image": None}], {}, "images/1.jpg: the image of mathvista '1' is missing"),
        ("mathvista", [VISTA | {"decoded_image": {"bytes": b"hello", "path": None}}], {}, "'1' does not open"),
        ("mathvista", [VISTA | {"decoded_image": None, "image": "../../x.png"}], {}, "is outside"),
        ("mathvista", [VISTA, VISTA], {}, "row 1: id '1' appears twice"),
        ("mathvista", [VISTA], {"category": "general"}, "no category 'general'; there are 'general-vqa'"),
        ("mathvista", [VISTA], {"n": 2}, "a sample of 2 of 1 rows"),
        ("mathvision", [{"id": 1, "question": "q"}], {}, r"row 0: no row of mathvision: no field 'options'"),
        ("gsm8k", [{"question": "q", "answer": "18"}], {}, "row 0: no row of gsm8k: the answer has no ####"),
    ],
)
def test_rows_that_are_not_as_published_are_named(tmp_path, benchmark, rows, options, says):
    with pytest.raises(InputError, match=says):
        made(tmp_path, benchmark, rows, **options)
    assert not (tmp_path / "task.jsonl").exists()


def test_published_pairs_with_their_images(shared, tmp_path):
    for function in tasks.FUNCTIONS:
        source = shared / "probe_pairs" / function / "data.jsonl"
        published_pairs.pairs(source, tmp_path / f"{function}.jsonl", tmp_path / function, n=20)
        pairs = tasks.read_pairs(tmp_path / f"{function}.jsonl")
        assert len(pairs) == 20
        assert all(tasks.open_image(tmp_path / pair.source_image).size for pair in pairs)
        assert not any("<image>" in pair.prompt for pair in pairs)
    with pytest.raises(InputError, match=r"only 25 pairs, but probes\.pairs is 26"):
        published_pairs.pairs(source, tmp_path / "x.jsonl", tmp_path / "x", n=26)


def test_a_pair_without_its_image_is_named(tmp_path):
    row = {"id": "a", "task": "ocr", "target_image": "t.png", "source_image": "gone.png", "prompt": "?"}
    (tmp_path / "t.png").write_bytes(picture())
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"gone\.png: image cannot be opened"):
        published_pairs.pairs(tmp_path / "data.jsonl", tmp_path / "x.jsonl", tmp_path / "x", n=1)
    (tmp_path / "data.jsonl").write_text(json.dumps(row | {"source_image": "../../etc/x.png"}) + "\n")
    with pytest.raises(InputError, match="source_image of 'a' is outside its folder"):
        published_pairs.pairs(tmp_path / "data.jsonl", tmp_path / "x.jsonl", tmp_path / "x", n=1)


def test_the_papers_pairs_are_fetched_at_their_commit(tmp_path):
    """From a git repository here: the commit asked for, not what came after it."""
    repository = tmp_path / "repository"
    (repository / "set" / "ocr").mkdir(parents=True)
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    for text in ("first", "second"):
        (repository / "set" / "ocr" / "data.jsonl").write_text(text)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", text], check=True)
    commits = subprocess.run([*git, "rev-list", "HEAD"], check=True, capture_output=True, text=True).stdout.split()
    published_pairs.fetch_pairs(repository.as_uri(), commits[1], "set", tmp_path / "pairs")
    assert (tmp_path / "pairs" / "ocr" / "data.jsonl").read_text() == "first"
    with pytest.raises(subprocess.CalledProcessError):
        published_pairs.fetch_pairs(repository.as_uri(), "0" * 40, "set", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "question",
    [
        "Which? Select from A-D. (A) (B) (C) (D)",
        "Which? (A), (B), (C) and (D)",
        "Which? (A) a picture (C) another",
        "Which? (B) x",
    ],
)
def test_letters_without_texts_are_no_choices(tmp_path, question):
    """LogicVista's options are often pictures: their empty texts are not all alike."""
    (example,) = made(tmp_path, "logicvista", [LETTER | {"question": question}])
    assert example.choices is None
    assert [g.verdict for g in verdicts.grades([(example, "B"), (example, "A")])] == ["right", "wrong"]


@pytest.mark.parametrize(
    ("listed", "choices"),
    [
        ("\nA:65°\nB:35°", ["65°", "35°"]),
        (" A:1 B:2 C:3 D:4", ["1", "2", "3", "4"]),
        ("\nA:\nB:\nC:\nD:", None),
        ("\nA: yes\nC: no", None),
    ],
)
def test_mathverses_choices(tmp_path, listed, choices):
    stated = f"Find x.\nChoices:{listed}"
    (example,) = made(tmp_path, "mathverse", [VERSE | {"question": stated, "question_for_eval": stated}])
    assert example.choices == choices


def test_images_may_lie_behind_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "1.jpg").write_bytes(picture())
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "images").symlink_to(tmp_path / "disk")
    (example,) = made(tmp_path, "mathvista", [VISTA | {"decoded_image": None}])
    assert tasks.open_image(tmp_path / example.image).size == (40, 30)


def test_places_in_several_files_are_one_count(tmp_path):
    rows = [{"question": f"q{i}", "answer": "#### 1"} for i in range(2)]
    paths = [parquet(tmp_path / f"{name}.parquet", rows) for name in "ab"]
    assert [e.id for e in published.read("gsm8k", paths, False)] == ["0", "1", "2", "3"]


def test_pairs_whose_images_share_a_name_stay_apart(tmp_path):
    for side, color in (("target", "red"), ("source", "blue")):
        (tmp_path / "set" / side).mkdir(parents=True)
        (tmp_path / "set" / side / "1.png").write_bytes(picture(color))
    row = {"id": "a", "task": "ocr", "target_image": "target/1.png", "source_image": "source/1.png", "prompt": "?"}
    (tmp_path / "set" / "data.jsonl").write_text(json.dumps(row) + "\n")
    published_pairs.pairs(tmp_path / "set" / "data.jsonl", tmp_path / "x.jsonl", tmp_path / "x", n=1)
    (pair,) = tasks.read_pairs(tmp_path / "x.jsonl")
    colours = [tasks.open_image(tmp_path / image).getpixel((0, 0)) for image in (pair.target_image, pair.source_image)]
    assert colours == [(255, 0, 0), (0, 0, 255)]
