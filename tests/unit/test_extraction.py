from fractions import Fraction

import pytest

from frankenstein.grading import extraction
from frankenstein.grading.extraction import choice_from, choice_of, letter_of, number, number_of

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
        "2^10",
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
        ("The answer is 7.", "7."),
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
    ("text", "choices", "found"),
    [
        ("(B)", YES, 1), ("B.", YES, 1), ("b", YES, 1), ("B) No", YES, 1), ("(B) No", YES, 1), ("Option B because A is wrong", YES, 1), ("No", YES, 1),
        ("no.", YES, 1), ("**(A)** Yes", YES, 0), ("the answer is A", YES, 0), ("5.8", LENGTHS, 0), ("5.80", LENGTHS, 0), ("6.5 cm", LENGTHS, 1),
        ("5.85", LENGTHS, None), ("smaller than", SIZES, 2), ("It is equal to that", SIZES, 1), ("E", ["A", "B", "C", "D", "E"], 4),
        ("3", ["4", "3", "2"], 1), ("", YES, None), ("maybe", YES, None), ("A dog", ["cat", "dog"], 1), ("$70^\\circ$", ["60°", "70°"], 1),
    ],
)  # fmt: skip
def test_a_choice_by_letter_words_or_number(text, choices, found):
    assert choice_of(text, choices) == found


@pytest.mark.parametrize(
    ("response", "choices", "found"),
    [
        ("The correct answer is (B), no. Violet has not the minimum.\n\nColor | Area\nViolet | 1840", YES, 1),
        ("<think>Could be A.</think>\n<answer>B</answer>", YES, 1),
        ("The answer is **(A) Yes**. Choice (B) is incorrect because it is not.", YES, 0),
        ("Since x > y, it follows. Therefore, $x$ is \\boxed{\\text{larger than}} y.", SIZES, 0),
        ("We get 6.5. So the length is 6.5.", LENGTHS, 1),
        ("I cannot see the picture.", LENGTHS, None),
    ],
)
def test_the_choice_that_a_response_makes(response, choices, found):
    assert choice_from(response, choices)[0] == found


def test_letters_beyond_the_choices_are_none():
    assert letter_of("(E)", 4) is None
    assert letter_of("A because B is wrong", 4) is None or letter_of("A because B is wrong", 4) == 0


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("\\boxed{5}", "5"), ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"), ("\\boxed{1} then \\boxed{\\{2\\}}", "\\{2\\}"), ("\\fbox{3}", "3"),
        ("\\boxed 5.", "5"), ("\\boxed{5", None), ("none", None),
    ],
)  # fmt: skip
def test_the_last_box(text, inner):
    assert extraction.boxed(text) == inner
