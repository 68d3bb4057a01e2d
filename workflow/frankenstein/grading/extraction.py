r"""Extracting the final answer from a response: the single implementation for all tasks, RL rewards, probes and the judge.

A response has at most one final answer: the last one marked as such outside its thinking, by a tag, a box or a
statement ("The answer is ..."). Marks and markup are unwrapped only by the rules below, in any nesting. Never uses
eval; runs in time linear in the response length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from . import abstention

_READ = 20_000  # trailing characters read of the text outside the thinking
TAG, BOX, STATED, PROSE = "tag", "box", "statement", "prose"

_THINK = re.compile(r"<(/?)think(?:ing)?>", re.I)
_OPEN, _CLOSE = re.compile(r"<answer>", re.I), re.compile(r"</answer>", re.I)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])|<\|begin_of_box\|>")
# Blanks and line ends inside the marks and around their content.
_INSIDE = re.compile(
    r"(<answer>|\\\[|\\\()\s{1,9}|(\{)[ \t]{0,9}\n\s{0,9}|\s{1,9}(</answer>|\\\]|\\\))|[ \t]{0,9}\n\s{0,9}(\})", re.I
)
_FENCE = re.compile(r"```.*?```", re.S)
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|sf|it|tt)|mbox|operatorname|emph)\*?\s*\{([^{}]*)\}"
)
# "the answer is", "final answer:", "A: 18", "#### 18", "答案是"; what follows on that line is the answer, or a formula below it.
_STATED = re.compile(
    r"(?:\b(?:final|correct|right|best|closest|possible|overall)?\s*(?:answer|option|choice)\s*"
    r"(?:to [^.:\n]{0,80}?|for [^.:\n]{0,80}?|here|would|should|must|will)?\s*"
    r"(?:\b(?:is|be)\b|=|:|：)+(?!\s*(?:in)?correct\b)"
    r"|^[ \t]*(?:\*\*|__)?(?:final[ \t]+)?(?:answer|ans)[ \t]*:|(?<=\n)[ \t]*(?:\*\*|__)?a[ \t]*:"
    r"|^[ \t]*\#{1,6}[ \t]*(?:the[ \t]+)?(?:final[ \t]+)?answer[ \t]*:?[ \t]*\n+"
    r"|\#\#\#\#"
    r"|答案(?:应该|应当|应)?(?:是|为|選|选)?[ \t]*[:：]?|(?:故|因此|所以|应)?[，,]?[ \t]*(?:选择|应选|故选|选)[ \t]*[:：]?(?=[ \t]*[（(]?[A-I]))"
    r"[ \t]*[:：]?[ \t]*\n*[ \t]*(?P<rest>[^\n]*(?:\n+[ \t]*(?=\$|\\|\*\*|\()[^\n]*)?)",
    re.I | re.M,
)
_SENTENCE = re.compile(r"(?<=[.!?])(?:\*\*)?\s+(?=[A-Z(*\\$\"'“])|(?<=[。！？])|\n+")
# Phrases that assistants add to an answer.
_POLITE = re.compile(
    r"(?:sure[,.! ]|i hope|hope this|let me know|do you have|is there anything|feel free|i can help|please note)", re.I
)
_CORRECTED = re.compile(
    r"[,;.]?\s*\b(?:(?:no|oh|hmm|actually)[,.]?\s+)?(?:wait|actually,? no|scratch that|correction|i mean|or rather|let me correct (?:that|this|myself))\b[,:.!]*\s*"
    r"|[,;]\s*(?:no|sorry|actually)[,:]\s+|不对[，,。]?|更正[：:]?",
    re.I,
)


# Words that cannot end a sentence: the text was cut off.
_DANGLING = re.compile(r"(?:\d\s*[-+*/×÷=]|\s[-+×÷=]|,|\b(?:and|or|the|then|of|with|because))$", re.I)
_UNFINISHED = re.compile(r"\b(?:is|are|would|will|has|have|be|to|which|that|as|for|from|by|at|on|in)$", re.I)
_WORDS = 6  # shorter answers may end in such a word


@dataclass(frozen=True)
class Answer:
    """A response's final answer: its text (None if there is none, with the reason), its mark, and all text outside the thinking.

    mark: TAG, BOX, STATED, or PROSE if no answer is marked, in which case `text` is everything outside the thinking.
    """

    text: str | None
    mark: str
    body: str
    reason: str = ""


def outside_thinking(response: str) -> tuple[str, str]:
    """(text outside <think> blocks, why it may lack the answer: "" or that the thinking never ends).

    A </think> without <think> closes a block that was opened in the prompt.
    """
    parts, at, thinking = [], 0, False
    for tag in _THINK.finditer(response):
        if not tag[1]:
            if not thinking:
                parts.append(response[at : tag.start()])
            thinking = True
        else:
            if not thinking:
                parts = []
            at, thinking = tag.end(), False
    if thinking:
        return "".join(parts), "the response ends within <think>"
    return "".join([*parts, response[at:]]), ""


def readable(text: str) -> str:
    """Text without NUL, lone surrogates and runs of blanks; only the end of an overlong text."""
    text = text[-_READ:].replace("\0", "").encode("utf-8", "replace").decode()
    text = _INSIDE.sub(lambda found: found[found.lastindex], text)
    lines = [line.rstrip() for line in re.sub(r"[^\S\n]{3,}", "  ", text).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def final_answer(response: str, truncated: bool = False) -> Answer:
    """The final answer of a response; truncated: it hit the token limit, so unmarked text is not an answer.

    The last mark counts; a statement inside a sentence that says it cannot be told does not.
    """
    body, unfinished = outside_thinking(response)
    body = readable(body)
    if not body.strip():
        return Answer(None, PROSE, "", unfinished or ("no answer after the thinking" if response.strip() else "empty"))
    found = _marked(body, truncated)
    if found is None:
        ending = body.rstrip()[-200:]
        stops = _UNFINISHED.search(ending) and len(body.split()) > _WORDS
        truncated = truncated or _DANGLING.search(ending) is not None or bool(stops)
        if unfinished or truncated:
            return Answer(None, PROSE, body, unfinished or "cut off before an answer")
        return Answer(unwrap(body), PROSE, body)
    text, mark = found
    if text is None:
        return Answer(None, mark, body, "cut off within its answer" if truncated else "the box is not closed")
    inner = unwrap(text)
    return Answer(inner or None, mark, body, "" if inner else "its answer is empty")


def _marked(text: str, truncated: bool = False) -> tuple[str | None, str] | None:
    """(content of the last mark, kind of mark); the content is None for an unclosed box."""
    spans: list[tuple[int, int, str | None, str]] = []  # start, end, content, kind of mark
    if opened := _last(_OPEN, text):
        closed = _CLOSE.search(text, opened.end())
        end = closed.start() if closed else len(text)
        spans.append((opened.start(), end, None if truncated and not closed else text[opened.end() : end], TAG))
    if box := _last(_BOX, text):
        inner = _boxed_at(text, box)
        spans.append((box.start(), box.end() + len(inner or "") + 1, inner, BOX))
    if statement := _statement(text):
        spans.append((*statement, STATED))
    if not spans:
        return None
    begins, ends, inner, mark = max(spans, key=lambda span: span[0])
    # A box inside a tag, a statement inside a box: the outer mark counts, and `unwrap` descends into it.
    for start, end, held, name in sorted(spans):
        if name != mark and start <= begins < end:
            begins, ends, inner, mark = start, end, held, name
            break
    others = [span for span in spans if span[0] < begins and span[3] != STATED]
    if mark == STATED and others and not _terse(inner):  # "This answer is consistent with the figure."
        begins, ends, inner, mark = max(others)
    if inner is None or (mark == STATED and truncated and not text[ends:].strip(" .*$})\n")):
        return None, mark  # it may have been about to continue
    behind = re.match(rf"[\s.,;)*$}}]*(?:{_CORRECTED.pattern})", text[ends:], re.I)
    if behind and (corrected_to := text[ends + behind.end() :].strip()):
        return _marked(corrected_to, truncated) or (first_sentence(corrected_to), STATED)
    return inner, mark


def _terse(text: str) -> bool:
    """Whether a statement is terse enough to override an earlier box: a number, a formula, a letter, a word or two."""
    plain = text.strip(" *_\"'")
    return re.match(r"[-+\d$\\(\[]|[A-I](?![A-Za-z'])|(?:yes|no)\b", plain, re.I) is not None or (
        len(plain.split()) <= 3
        and not re.match(
            r"(?:in|as|above|below|shown|given|consistent|based|found|correct|right|wrong|obtained|reasonable)\b",
            plain,
            re.I,
        )
    )


def _last(pattern: re.Pattern, text: str) -> re.Match | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007
        pass
    return found


def _boxed_at(text: str, box: re.Match) -> str | None:
    r"""Content of a \boxed{...}, with a sign before it and a percent sign after it; None if its brace is not closed."""
    if box[0].startswith("<"):
        return text[box.end() :].partition("<|end_of_box|>")[0]
    rest = text[box.end() :].lstrip()
    if not rest.startswith("{"):
        return rest.split()[0].strip("$.") if rest.split() else None
    end = closing(rest)
    if end is None:
        return None
    sign = "-" if re.search(r"(?:^|[=$(\[\s])\s*[-−]$", text[max(0, box.start() - 20) : box.start()]) else ""
    percent = re.match(r"\s*(?:\\?%)", rest[end + 1 : end + 10])
    return f"{sign}{rest[1:end].strip()}{percent[0].strip() if percent else ''}"


def closing(text: str) -> int | None:
    """Position closing the brace that a text begins with; escaped braces do not count."""
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", text, re.S):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0 and brace[0] == "}":
            return brace.start()
    return None


def boxed(text: str) -> str | None:
    r"""Content of the last \boxed{}, \fbox{} or \boxed 5; None if there is none or it is not closed."""
    box = _last(_BOX, text)
    return _boxed_at(text, box) if box else None


def _statement(text: str) -> tuple[int, int, str] | None:
    """(start, end, content) of the last non-empty statement such as "the answer is ..."."""
    for match in reversed(list(_STATED.finditer(text))):
        stated = first_sentence(unmatched(match["rest"]))
        begins = max(text.rfind(mark, 0, match.start()) for mark in "\n.!?。") + 1
        if stated.strip(" *_:") and not abstention.unable(text[begins : match.start()]):
            at = text.find(stated, match.start("rest"))
            return match.start("rest"), at + len(stated), stated
    return None


def statements(text: str) -> list[str]:
    """Everything a text states as its answer, last first."""
    return [first_sentence(unmatched(match["rest"])) for match in reversed(list(_STATED.finditer(text)))]


def first_sentence(text: str) -> str:
    """The first sentence of a statement; a letter with a full stop only begins it ("B. 40")."""
    return _SENTENCE.split(text.strip(), maxsplit=1)[0] if not re.match(r"\W*[A-I]\.\s", text) else text.strip()


def unmatched(text: str) -> str:
    """Text without unmatched marks at its ends, i.e. opened before it or closed after it."""
    text = text.strip()
    text = re.sub(r"^(?:\*\*|__|\$(?=[^$]*$)|[)}\]](?=\s))\s*", "", text)
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", text, re.S):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth < 0:
            text = text[: brace.start()]
            break
    before = None
    while text != before:
        before = text
        text = re.sub(r"</?[A-Za-z_|]+>\s*$", "", text).strip()
        for pair in ("**", "__", "$", "`"):
            if text.endswith((pair, pair + ".")) and text.count(pair) % 2:
                text = text[: text.rfind(pair)].strip()
        for opens, closes in ((r"\(", r"\)"), (r"\[", r"\]")):
            if text.rstrip(" .").endswith(closes) and opens not in text:
                text = text[: text.rfind(closes)].strip()
    return text


# --- unwrapping -----------------------------------------------------------------------------------


def _whole(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern, re.S)
    return lambda text: found[1].strip() if (found := compiled.fullmatch(text)) else None


def _command(text: str) -> str | None:
    r"""\text{all of it}"""
    found = re.match(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|sf|it)|mbox|displaystyle|boldsymbol)\s*(?=\{)", text)
    if found and closing(text[found.end() :]) == len(text) - found.end() - 1:
        return text[found.end() + 1 : -1].strip()
    return None


def _braces(text: str) -> str | None:
    return text[1:-1].strip() if text.startswith("{") and closing(text) == len(text) - 1 else None


def _inner_mark(text: str) -> str | None:
    """Content of a tag, box or statement inside the text."""
    found = _marked(text)
    if found is None and (plain := without_text(text)) != text:
        found = _marked(plain)
    return found[0].strip() if found and found[0] is not None else None


# Each removes one layer from a text, or returns None if the layer is absent.
RULES: dict[str, Callable[[str], str | None]] = {
    "tag, box, statement": _inner_mark,
    r"\text{...}": _command,
    "{...}": _braces,
    "$...$": _whole(r"\$\$?([^$]*[^$\\])\$\$?\.?"),
    r"\(...\)": _whole(r"\\\(((?:(?!\\\)).)*)\\\)\.?"),
    r"\[...\]": _whole(r"\\\[((?:(?!\\\]).)*)\\\]\.?"),
    "**...**": _whole(r"\*{1,3}((?:(?!\*).)+)\*{1,3}\.?"),
    "__...__": _whole(r"__((?:(?!__).)+)__\.?"),
    "`...`": _whole(r"`{1,3}((?:(?!`).)+)`{1,3}\.?"),
    "quotes": _whole(r"[\"“'‘]([^\"“”'‘’]+)[\"”'’]\.?"),
    r"\displaystyle": _whole(r"\\(?:displaystyle|textstyle|bf|rm)(?![A-Za-z])(.*)"),
    "aligned": _whole(r"\\begin\{(?:aligned|align\*?|gathered|equation\*?|split)\}(.*)\\end\{[a-z]+\*?\}"),
    "Answer": _whole(r"(?:the )?(?:final )?answers?\s*[:：]?\s+(\S.*)"),
    "full stop": _whole(r"(.*\S)\s*[.。]"),
}


def unwrap(text: str) -> str:
    """A text with the layers named in RULES removed, outermost first, in any nesting."""
    text = text.strip()
    for _ in range(50):
        inner = next((found for rule in RULES.values() if (found := rule(text)) is not None and found != text), None)
        if inner is None:
            break
        text = inner
    return text


def without_text(text: str) -> str:
    r"""Text without \text{} and similar commands, their content separated by a space from what precedes it."""
    for _ in range(3):
        text, changed = _TEXT.subn(r" \1", text)
        if not changed:
            break
    return text.strip()


def bare(text: str) -> str:
    """Text without markdown or the dollar signs around LaTeX."""
    text = re.sub(r"(?<![\w)])\*\*|\*\*(?![\w(])|__|`", "", text).strip()  # but 9**9
    return text.strip("$").strip() if text.startswith("$") and text.endswith("$") else text


def same_text(text: str) -> str:
    """Text normalized for comparison: no case, markup, or punctuation at the ends; single spaces."""
    text = without_text(bare(text)).replace("\\", "").replace("$", "")
    return " ".join(text.casefold().split()).strip(" .,:;!?\"'()")


def sentences(text: str) -> list[str]:
    """Sentences and lines, without code blocks and polite phrases."""
    found = [bare(part) for part in _SENTENCE.split(_FENCE.sub(" ", text))]
    kept = [part for part in found if part and not _POLITE.match(part)]
    return kept or [part for part in found if part] or [bare(text)]


def corrected(text: str) -> list[str]:
    """If a text corrects itself ("(A), no wait, (C)"), its final version first; then the whole text."""
    *_, last = _CORRECTED.split(text)
    return [last.strip(), text] if last.strip() and last != text else [text]
