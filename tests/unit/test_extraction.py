from fractions import Fraction

import pytest

from frankenstein.grading import abstention, choices, extraction, numbers
from frankenstein.grading.choices import OTHER
from frankenstein.grading.extraction import BOX, PROSE, STATED, TAG, final_answer, unwrap
from frankenstein.grading.numbers import number


def number_of(response):
    answer = final_answer(response)
    return numbers.of(answer) if answer.text is not None else None


def choice_from(response, options):
    return choices.of(final_answer(response), options)


YES = ["Yes", "No"]
SIZES = ["larger than", "equal to", "smaller than"]
LENGTHS = ["5.8", "6.5", "14.2", "44.3"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.14", "3.14"), ("0.5", "0.5"), (".5", "0.5"), ("1,234", 1234), ("1,234,567.5", "1234567.5"), ("-3", -3), ("−3", -3),
        ("$7", 7), ("\\$1,050.50", "1050.5"), ("50%", 50), ("50 \\%", 50), ("3/4", "3/4"), ("\\frac{3}{4}", "3/4"), ("\\frac12", "1/2"),
        ("-\\dfrac{1}{2}", "-1/2"), ("12 cm", 12), ("12 cm^2", 12), ("30^\\circ", 30), ("30°", 30), ("1.2e3", 1200),
        ("1.2 \\times 10^{3}", 1200), ("seven", 7), ("**7**", 7), ("$7$", 7), ("7.", 7), ("5 \\text{ miles per hour}", 5), ("€5", 5),
    ],
)  # fmt: skip
def test_numbers_are_read_exactly(text, value):
    assert number(text) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a-b",
        "5:3",
        "1,23",
        "12,34,567",
        "1.2.3",
        "x = 3",
        "3 + 4",
        "9**9**9**9",
        "9" * 10_000,
        "1/0",
        "A",
        "3 4",
    ],
)
def test_what_is_no_number(text):
    assert number(text) is None


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("<think>2 and 2</think><answer>3.14</answer>", "3.14"),
        ("<answer>5</answer> no: <answer>201</answer>", "201"),
        ("so $x = \\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("The answer is 7.", "7"),
        ("The answer is 3.14", "3.14"),
        ("There are 12. The final answer is: **1,234**", "1,234"),
        ("He pays 3 * 6 = 18 dollars.\nA: 18", "18"),
        ("He has 5 apples and eats 2.\n#### 3", "3"),
        ("The median of the 5 values is the 3rd. Therefore, the median is 4.", "4"),
        ("Subtracting, 10 - 2 - 3 = 5 objects are left.", "5"),
        ("Therefore, there are 3 maskers in Fig. Q1a. I hope this helps! Call 911 any time.", "3"),
        ("I see the image. The perimeter is 2*3 + 2*2 = 8 cm.\n\nIs there anything else I can help you with?", "8"),
        ("There are seven birds.", "seven"),
        ("42", "42"),
        ("Sorry, I can't help with images of people yet.", None),
        ("", None),
    ],
)
def test_the_number_that_a_response_says(response, said):
    assert number_of(response) == said


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("(B)", YES, 1), ("B.", YES, 1), ("b", YES, 1), ("B) No", YES, 1), ("(B) No", YES, 1), ("Option B because A is wrong", YES, 1), ("No", YES, 1),
        ("no.", YES, 1), ("**(A)** Yes", YES, 0), ("the answer is A", YES, 0), ("5.8", LENGTHS, 0), ("5.80", LENGTHS, 0), ("6.5 cm", LENGTHS, 1),
        ("5.85", LENGTHS, OTHER), ("smaller than", SIZES, 2), ("It is equal to that", SIZES, 1), ("E", ["A", "B", "C", "D", "E"], 4),
        ("3", ["4", "3", "2"], 1), ("", YES, None), ("maybe", YES, None), ("A dog", ["cat", "dog"], 1), ("$70^\\circ$", ["60°", "70°"], 1),
    ],
)  # fmt: skip
def test_a_choice_by_letter_words_or_number(text, options, found):
    assert choices.of_text(text, options) == found


@pytest.mark.parametrize(
    ("response", "options", "found"),
    [
        ("The correct answer is (B), no. Violet has not the minimum.\n\nColor | Area\nViolet | 1840", YES, 1),
        ("<think>Could be A.</think>\n<answer>B</answer>", YES, 1),
        ("The answer is **(A) Yes**. Choice (B) is incorrect because it is not.", YES, 0),
        ("Since x > y, it follows. Therefore, $x$ is \\boxed{\\text{larger than}} y.", SIZES, 0),
        ("We get 6.5. So the length is 6.5.", LENGTHS, 1),
        ("I cannot see the picture.", LENGTHS, None),
    ],
)
def test_the_choice_that_a_response_makes(response, options, found):
    assert choice_from(response, options)[0] == found


def test_letters_beyond_the_choices_are_none_of_them():
    assert choices.of_text("(E)", ["1 m", "2 m", "3 m", "4 m"]) == OTHER


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("\\boxed{5}", "5"), ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"), ("\\boxed{1} then \\boxed{\\{2\\}}", "\\{2\\}"), ("\\fbox{3}", "3"),
        ("\\boxed 5.", "5"), ("\\boxed{5", None), ("none", None),
    ],
)  # fmt: skip
def test_the_last_box(text, inner):
    assert extraction.boxed(text) == inner


@pytest.mark.parametrize(
    ("response", "outside", "unfinished"),
    [
        ("<think>5</think>6", "6", False),
        ("5</think>6", "6", False),  # the prompt opened it
        ("4 <think>5</think> 6", "4  6", False),
        ("<think>5", "", True),
        ("4 <think>5", "4 ", True),
        ("<think>a<think>b</think>6", "6", False),
        ("<thinking>5</thinking>6", "6", False),
        ("<THINK>5</THINK>6", "6", False),
        ("6", "6", False),
    ],
)
def test_what_stands_outside_the_thinking(response, outside, unfinished):
    found, reason = extraction.outside_thinking(response)
    assert (found, bool(reason)) == (outside, unfinished)


@pytest.mark.parametrize(
    ("response", "text", "mark"),
    [
        ("<answer>B</answer> is the tag. \\boxed{A}", "A", BOX),
        ("\\boxed{A} and <answer>B</answer>", "B", TAG),
        ("\\boxed{1}? No. So the final answer is 2.", "2", STATED),
        ("\\boxed{4}\n\nThe answer is correct because 2+2=4.", "4", BOX),
        ("\\boxed{4}\n\nThe answer is consistent with the figure.", "4", BOX),
        ("\\boxed{4} <think>or 5? \\boxed{5}</think>", "4", BOX),
        ("The answer is A. Wait, no: the answer is B.", "B", STATED),
        ("The answer is (A). Wait, actually it's (B).", "actually it's (B)", STATED),
        ("-\\boxed{5}", "-5", BOX),
        ("a-\\boxed{5}", "5", BOX),
        ("\\boxed{5}\\%", "5\\%", BOX),
        ("\\boxed{\\left\\{ 1, 2 \\right)}", "\\left\\{ 1, 2 \\right)", BOX),
        ("<|begin_of_box|>5<|end_of_box|>", "5", BOX),
        ("7", "7", PROSE),
        ("I cannot determine whether the answer is Yes or No.", "I cannot determine whether the answer is Yes or No", PROSE),
    ],
)  # fmt: skip
def test_the_last_mark_outside_the_thinking_counts(response, text, mark):
    found = final_answer(response)
    assert (found.text, found.mark) == (text, mark)


@pytest.mark.parametrize(
    ("response", "truncated", "reason"),
    [
        ("", False, "empty"),
        ("<think>2+2", False, "the response ends within <think>"),
        ("<think>2+2=4</think>", False, "no answer after the thinking"),
        ("\\boxed{5", False, "the box is not closed"),
        ("\\boxed{5", True, "cut off within its answer"),
        ("<answer>12", True, "cut off within its answer"),
        ("First, there are 3 boxes and", True, "cut off before an answer"),
        ("The answer is 1", True, "cut off within its answer"),
    ],
)
def test_a_response_without_an_answer_says_why(response, truncated, reason):
    found = final_answer(response, truncated)
    assert (found.text, found.reason) == (None, reason)


def test_what_was_marked_before_the_end_of_tokens_stands():
    assert final_answer("<answer>12</answer> and so", truncated=True).text == "12"
    assert final_answer("The answer is 12. To see why,", truncated=True).text == "12"
    assert final_answer("<answer>12").text == "12"  # the closing tag may be what ended it


# What each rule takes off, alone; the rest of it is not touched.
@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("<answer>5</answer>", "5"), ("\\boxed{5}", "5"), ("The answer is 5", "5"), ("\\text{B}", "B"), ("{5}", "5"), ("$5$", "5"),
        ("$$5$$", "5"), ("\\(5\\)", "5"), ("\\[5\\]", "5"), ("**5**", "5"), ("__5__", "5"), ("`5`", "5"), ('"CAT"', "CAT"),
        ("\\displaystyle 5", "5"), ("\\begin{aligned}5\\end{aligned}", "5"), ("Answer: 5", "5"), ("5.", "5"),
        ("\\text{a} + \\text{b}", "\\text{a} + \\text{b}"), ("$a$ and $b$", "$a$ and $b$"), ("{1}{2}", "{1}{2}"), ("**a** b", "**a** b"),
        ("<b>5</b>", "<b>5</b>"), ("(5)", "(5)"), ("5!", "5!"), ("\\sqrt{5}", "\\sqrt{5}"), ("3.14", "3.14"), ("9**9", "9**9"),
    ],
)  # fmt: skip
def test_what_a_rule_names_is_unwrapped_and_nothing_else(text, inner):
    assert unwrap(text) == inner


@pytest.mark.parametrize(
    "text",
    ["N/A", "None", "None of the above", "Unknown.", "Cannot be determined", "\\text{Cannot be determined}", "No image provided", "not visible",
     "The image is black.", "I don't know", "无法确定", "看不到图片", "Not enough information", "It depends on the figure", "?", "no answer",
     "Unable to determine from the image", "Cannot tell, since the image is black", "The figure is not shown"],
)  # fmt: skip
def test_abstentions(text):
    assert abstention.abstains(text)


@pytest.mark.parametrize(
    "text",
    ["5", "A", "No", "no", "0 since the image is black", "B because I cannot see the others", "There is no dog.", "larger than", "black cat", "not red",
     "None of the birds fly: 0", "The black square", "unknown variable x = 5", "notice board", "5 cm"],
)  # fmt: skip
def test_answers_are_no_abstentions(text):
    assert not abstention.abstains(text)
