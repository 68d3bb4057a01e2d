import itertools
import json
from dataclasses import replace

import pytest
from PIL import Image

from frankenstein.core.errors import InputError
from frankenstein.data.tasks import Example, fingerprint
from frankenstein.grading import verdicts
from frankenstein.inference import cache, respond, responses
from frankenstein.inference.generation import Response
from frankenstein.inference.prompts import Prompt
from frankenstein.mini import questions

SETTINGS = {"checkpoint": "base", "model": "m", "max_new_tokens": 4}


def examples(n=5, task="t"):
    return [Example(f"{task}{i}", task, f"question {task} {'x' * i}?", "5", "number") for i in range(n)]


class Engine:
    """Answers with the prompt's length, and counts what it is asked; is killed after so many batches."""

    def __init__(self, batches=99):
        self.asked, self.batches = [], batches

    def prepare(self):
        pass

    def __call__(self, prompts: list[Prompt]) -> list[Response]:
        if len(self.asked) == self.batches:
            raise KeyboardInterrupt
        self.asked.append([prompt.text for prompt in prompts])
        return [Response(f"<answer>{len(prompt.text)}</answer>", [1, 2], False) for prompt in prompts]


class Made(Engine):
    """An engine made of a function."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, prompts):
        return self.answer(prompts)


class Streaming:
    """Answers out of order, two requests in flight, and is killed after so many; fails on texts with this mark."""

    def __init__(self, most=99, bad="!"):
        self.asked, self.most, self.bad, self.planned = [], most, bad, None

    def prepare(self, asked, system):
        self.planned = asked

    def stream(self, prompts):
        numbered, waiting = enumerate(prompts), []
        while True:
            waiting += itertools.islice(numbered, 2 - len(waiting))
            if not waiting:
                return
            if len(self.asked) == self.most:
                raise KeyboardInterrupt
            number, prompt = waiting.pop()
            self.asked.append(prompt.text)
            bad = self.bad in prompt.text
            yield number, RuntimeError("too long") if bad else Response(f"{len(prompt.text)}", [1, 2], False)


def test_an_engine_that_streams_gets_all_requests_and_a_kill_costs_what_was_in_flight(tmp_path):
    asked = [*examples(4), Example("bad", "t", "too long!", "5", "number"), *examples(2, task="same")]
    asked[-1] = Example("again", "same", asked[0].prompt, "5", "number")  # another task's, and the same request
    whole = run(Streaming(), tmp_path / "whole", asked)
    assert [record["id"] for record in whole] == [example.id for example in asked]
    assert [record["error"] for record in whole] == [None] * 4 + ["RuntimeError: too long"] + [None] * 2
    assert whole[-1]["response"] == whole[0]["response"]
    broken = Streaming(most=3)
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path, asked)
    again = Streaming()
    assert run(again, tmp_path, asked) == whole
    assert len(broken.asked) == 3
    assert len(again.asked) == 6 - 3 + ("too long!" in broken.asked)
    assert {text for text, _ in again.planned} == set(again.asked)
    assert run(third := Streaming(), tmp_path, [asked[0]]) == whole[:1]
    assert third.planned is None


def run(engine, tmp_path, asked=None, settings=SETTINGS, shard=0, batch=2):
    store = cache.ResponseCache(tmp_path / "answers" / f"{shard}.jsonl", settings)
    asked = asked or examples()
    return list(respond.respond(engine, [(example, "text") for example in asked], tmp_path, "", batch, store))


def test_a_broken_run_goes_on_where_it_was_and_ends_the_same(tmp_path):
    whole = run(Engine(), tmp_path / "whole")
    broken = Engine(batches=2)
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path)
    again = Engine()
    assert run(again, tmp_path) == whole
    assert len(broken.asked) == 2
    assert again.asked == [[examples()[4].prompt]]
    third = Engine()
    assert run(third, tmp_path) == whole
    assert third.asked == []


def test_a_torn_last_line_costs_its_batch(tmp_path):
    whole = run(Engine(), tmp_path)
    path = tmp_path / "answers" / "0.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    again = Engine()
    assert run(again, tmp_path) == whole
    # Batches are as before: the third answer was there, and is asked again beside the torn one.
    assert [len(batch) for batch in again.asked] == [2, 1]
    assert len(path.read_text().splitlines()) == 5
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_corrupt_line_in_the_middle_is_named(tmp_path):
    run(Engine(), tmp_path)
    path = tmp_path / "answers" / "0.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")
    with pytest.raises(InputError, match=r"0\.jsonl, line 2: not a JSON object"):
        run(Engine(), tmp_path)


@pytest.mark.parametrize("change", [{"model": "other"}, {"max_new_tokens": 5}])
def test_what_was_made_under_other_settings_is_not_used(tmp_path, change):
    run(Engine(), tmp_path)
    other = Engine()
    run(other, tmp_path, settings=SETTINGS | change)
    assert sum(map(len, other.asked)) == 5
    back = Engine()
    run(back, tmp_path)
    assert back.asked == []


def test_another_wording_or_image_is_another_request(tmp_path, monkeypatch):
    question = next(questions.stream(1, "eval", {"math_vqa": 1}))
    question.image.save(tmp_path / "a.png")
    example = Example("a", "t", "what?", "5", "number", image="a.png")
    engine = Engine()
    store = cache.ResponseCache(tmp_path / "s" / "0.jsonl", SETTINGS)
    for asked, condition in [(example, "image"), (example, "black"), (example, "text"), (example, "image")]:
        list(respond.respond(engine, [(asked, condition)], tmp_path, "", 2, store))
    assert len(engine.asked) == 3
    question.image.rotate(90).save(tmp_path / "a.png")
    list(respond.respond(engine, [(example, "image")], tmp_path, "", 2, store))
    list(respond.respond(engine, [(example, "text")], tmp_path, "think.", 2, store))
    assert len(engine.asked) == 5


def test_a_shuffled_image_is_another_request_when_either_image_is_another(tmp_path):
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{name}.png")
    engine, store = Engine(), cache.ResponseCache(tmp_path / "s" / "0.jsonl", SETTINGS)

    def ask(other, condition="shuffled"):
        example = Example("a", "t", "what?", "5", "number", image="a.png", meta={"other_image": other})
        return list(respond.respond(engine, [(example, condition)], tmp_path, "", 2, store))

    for asked, times in ((("b.png",), 1), (("b.png",), 1), (("c.png",), 2), (("c.png", "image"), 3), (("c.png",), 3)):
        ask(*asked)
        assert len(engine.asked) == times
    Image.new("RGB", (30, 30), "white").save(tmp_path / "c.png")
    ask("c.png")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")  # another image's size
    ask("c.png")
    assert len(engine.asked) == 5


def test_where_there_is_no_other_image_the_response_is_missing_and_counted(tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    example = Example("a", "t", "what?", "5", "number", image="a.png")
    store = cache.ResponseCache(tmp_path / "s" / "0.jsonl", SETTINGS)
    asked = [(example, "shuffled"), (example, "image")]
    made = list(respond.respond(Engine(), asked, tmp_path, "", 2, store))
    assert [record["error"] for record in made] == ["a: no other image in the task", None]


def test_a_new_task_and_other_shards_ask_only_what_is_new(tmp_path):
    run(Engine(), tmp_path)
    more = Engine()
    run(more, tmp_path, [*examples(2, "new"), *examples()])
    assert sum(map(len, more.asked)) == 2
    sharded = Engine()
    run(sharded, tmp_path, examples()[1::2], shard=1)
    assert sharded.asked == []


def test_a_sample_that_fails_stays_in_n_and_is_asked_again(tmp_path):
    class Odd(Engine):
        def __call__(self, prompts):
            if any(" xxx?" in prompt.text for prompt in prompts):
                raise ValueError("too odd")
            return super().__call__(prompts)

    records = {record["id"]: record for record in run(Odd(), tmp_path, batch=5)}
    assert len(records) == 5
    assert (records["t3"]["response"], records["t3"]["error"]) == (None, "too odd")
    again = Engine()
    mended = run(again, tmp_path, batch=5)
    assert all(record["error"] is None for record in mended)


def test_where_everything_fails_it_is_not_the_samples(tmp_path):
    @Made
    def broken(prompts):
        raise RuntimeError("no device")

    with pytest.raises(RuntimeError, match="no device"):
        run(broken, tmp_path)


def written(tmp_path, header=None, asked=None, name="r.jsonl"):
    asked = asked or examples()
    header = SETTINGS | {"examples": {"t": fingerprint(asked)}} | (header or {})
    responses.write(tmp_path / name, header, run(Engine(), tmp_path, asked))
    return tmp_path / name


def test_grades_are_of_whole_files(tmp_path):
    graded = verdicts.grade_all([written(tmp_path)], "base", examples())
    assert list(graded.id) == ["t0", "t1", "t2", "t3", "t4"]
    assert set(graded.verdict) == {"wrong"}
    right = Example("a", "t", "12345", "5", "number")
    path = written(tmp_path / "b", asked=[right])
    assert list(verdicts.grade_all([path], "base", [right]).verdict) == ["right"]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda lines: ['{"id": "t0"}', *lines[1:]], "no header"),
        (lambda lines: [*lines[:2], lines[2][:30], *lines[3:]], "line 3: not a JSON object"),
        (lambda lines: [*lines, lines[1]], "line 7: .* is answered twice"),
        (lambda lines: lines[:-1], "no response to 't4'"),
        (lambda lines: [lines[0].replace('"base"', '"one-rl"'), *lines[1:]], "responses of 'one-rl', not of 'base'"),
        (lambda lines: [*lines, lines[1].replace("t0", "zz")], "response to 'zz', which is not in the dataset"),
    ],
)
def test_responses_that_are_not_what_they_should_be_are_named(tmp_path, break_it, says):
    path = written(tmp_path)
    path.write_text("\n".join(break_it(path.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=says) as caught:
        responses.read_all([path], "base", examples())
    assert str(path) in str(caught.value)


def test_responses_to_another_version_of_the_prompts_are_refused(tmp_path):
    path = written(tmp_path)
    reworded = [Example(e.id, e.task, e.prompt + " Think.", e.answer, e.answer_type) for e in examples()]
    with pytest.raises(InputError, match="t was asked with another version"):
        responses.read_all([path], "base", reworded)


def test_shards_made_under_different_settings_are_refused(tmp_path):
    first, second = written(tmp_path), written(tmp_path / "b", header={"max_new_tokens": 8})
    with pytest.raises(InputError, match="max_new_tokens is 8, but 4 in"):
        responses.read_all([first, second], "base", examples())


def test_a_line_torn_within_a_letter_costs_its_batch(tmp_path):
    @Made
    def engine(prompts):
        return [Response("90 度", [1], False) for _ in prompts]

    whole = run(engine, tmp_path)
    path = tmp_path / "answers" / "0.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex("度".encode()) + 1])
    assert run(engine, tmp_path) == whole


@pytest.mark.parametrize("batch", [1, 8])
def test_an_engine_that_cannot_start_is_one_error_whatever_the_batch(tmp_path, batch):
    class Missing(Engine):
        def prepare(self):
            raise InputError("no key")

    with pytest.raises(InputError, match="no key"):
        run(Missing(), tmp_path, batch=batch)
    run(Engine(), tmp_path)
    assert len(run(Missing(), tmp_path)) == 5  # nothing is left to ask


def test_one_bad_batch_is_not_everything(tmp_path):
    """The longest are together in the last batch, and are too long for the memory: they stay in N as failed."""

    class Small(Engine):
        def __call__(self, prompts):
            if max(len(prompt.text) for prompt in prompts) > len("question t x?"):
                raise RuntimeError("out of memory")
            return super().__call__(prompts)

    records = run(Small(), tmp_path, examples(6), batch=2)
    assert [record["error"] is None for record in records] == [True, True, False, False, False, False]
    with pytest.raises(RuntimeError, match="no device"):
        run(Made(lambda prompts: (_ for _ in ()).throw(RuntimeError("no device"))), tmp_path / "b", batch=1)


def test_responses_do_not_depend_on_which_shard_was_first(tmp_path):
    """Two tasks that ask the same: each is asked in its own batches."""

    @Made
    def engine(prompts):
        return [Response(str(len(prompts)), [1], False) for _ in prompts]

    def alike(task, n):
        return [Example(f"{task}{i}", task, f"question {i}?", "5", "number") for i in range(n)]

    first = run(engine, tmp_path / "a", alike("x", 3), batch=3)
    run(engine, tmp_path / "b", alike("y", 2), batch=3)
    assert run(engine, tmp_path / "b", alike("x", 3), shard=1, batch=3) == first


def test_shards_of_two_runs_are_not_graded_together(tmp_path):
    path = written(tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="is also answered in another of these files"):
        responses.read_all([path, other], "base", examples())


def test_a_probe_goes_on_where_it_was_killed(tmp_path):
    """Items of two tasks that share their ids; one fails, and is computed again."""
    items, computed = [*examples(3, "x"), *(replace(one, task="y") for one in examples(3, "x"))], []

    def compute(todo, kill_at=99, fails=("y", "x2")):
        for item in sorted(todo, key=lambda item: item.id):  # in batches, and so not in order
            if len(computed) == kill_at:
                raise KeyboardInterrupt
            computed.append((item.task, item.id))
            error = "too long" if computed[-1] == fails else None
            yield from ({"id": item.id, "task": item.task, "layer": layer, "error": error} for layer in range(2))

    def run(settings=SETTINGS, **options):
        computed.clear()
        store = cache.ResponseCache(tmp_path / "probe" / "0.jsonl", settings)
        return list(cache.resumed(store, items, tmp_path, lambda todo: compute(todo, **options), task="task"))

    with pytest.raises(KeyboardInterrupt):
        run(kill_at=4)
    assert len(computed) == 4
    records = run()
    assert len(records) == 12
    assert len({(record["task"], record["id"], record["layer"]) for record in records}) == 12
    # The last one before the kill was in flight: its end is seen when the next one's records come.
    assert len(computed) == 6 - 3
    run(fails=None)
    assert computed == [("y", "x2")]
    run()
    assert computed == []
    run({"code": "other"})
    assert len(computed) == 6


def test_a_missing_image_fails_its_own_item_in_a_probe(tmp_path):
    items = [replace(example, image=f"{example.id}.png") for example in examples(2)]
    (tmp_path / "t0.png").write_bytes(b"an image")
    store = cache.ResponseCache(tmp_path / "probe" / "0.jsonl", SETTINGS)

    def compute(todo):
        return [{"id": item.id, "error": None if item.id == "t0" else "image cannot be opened"} for item in todo]

    records = list(cache.resumed(store, items, tmp_path, compute))
    assert [record["error"] for record in records] == [None, "image cannot be opened"]
    assert len(store.records) == 1
