import pytest

from frankenstein.core.errors import InputError
from frankenstein.merging.hybrid_spec import REST, Assignment, Choice, even_cuts
from frankenstein.models.architecture import Part


def given(spec, layers=28, cuts=None, rest_from="early", block="attention"):
    """The choice of every layer, as text."""
    assignment = Assignment.parse(spec, layers, cuts, rest_from)
    return [str(assignment.choice(Part("layer", layer, block))) for layer in range(layers)]


def test_even_cuts_are_the_papers():
    assert even_cuts(28, 3) == (10, 19)
    assert even_cuts(9, 3) == (3, 6)
    assert even_cuts(36, 2) == (18,)


def test_regions_and_cuts():
    assert given("IN:RL:RL") == ["IN"] * 10 + ["RL"] * 18
    assert given("IN:RL:BASE", cuts=(8, 20)) == ["IN"] * 8 + ["RL"] * 12 + ["BASE"] * 8
    assert given("A:B:C:D", layers=8) == ["A", "A", "B", "B", "C", "C", "D", "D"]
    assert given("RL", cuts=(10, 19)) == ["RL"] * 28


def test_windows_and_blocks():
    window = given("IN+RL@14-17")
    assert [layer for layer, donor in enumerate(window) if donor == "RL"] == [14, 15, 16, 17]
    assert given("IN+RL@attention") == ["RL"] * 28
    assert given("IN+RL@attention", block="mlp") == given("IN+RL@attention", block="norm") == ["IN"] * 28
    mixed = given("IN:RL:RL+IN@20-22.mlp+BASE@21", block="mlp")
    assert mixed[19:24] == ["RL", "IN", "BASE", "IN", "RL"]
    assert given("IN:RL:RL+IN@20-22.mlp+BASE@21")[19:24] == ["RL", "RL", "BASE", "RL", "RL"]


def test_alpha_zero_and_one_are_the_copies():
    assert given("0:1:0.5", layers=3) == ["IN", "RL", "IN + 0.5 (RL - IN)"]
    assert Assignment.parse("0:1:1", 28).regions == Assignment.parse("IN:RL:RL", 28).regions


def test_the_rest_is_earlys_or_each_parts_own():
    def rest(spec, rest_from):
        return {part: str(choice) for part, choice in Assignment.parse(spec, 28, None, rest_from).rest.items()}

    assert rest("RL:IN:IN", "early") == dict.fromkeys(REST, "RL")
    assert rest("RL:IN:IN+BASE@0", "early") == dict.fromkeys(REST, "RL")
    assert rest("RL:IN:IN", "in") == dict.fromkeys(REST, "IN")
    own = rest("RL:IN:IN", {"vision_tower": "BASE", "head": "0.25"})
    assert own == dict.fromkeys(REST, "RL") | {"vision_tower": "BASE", "head": "IN + 0.25 (RL - IN)"}
    assignment = Assignment.parse("RL:IN:IN", 28, None, {"vision_tower": "BASE"})
    assert assignment.choice(Part("vision_tower", depth=3)) == Choice("BASE")
    assert assignment.choice(Part("final_norm")) == Choice("RL")
    assert assignment.donors == ["RL", "IN", "BASE"]


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("IN:RL:RL", {"cuts": (10,)}, r"3 regions need 2 cut points, not \[10\]"),
        ("IN:RL:RL", {"cuts": (10, 28)}, r"leave a region of the 28 decoder layers empty"),
        ("IN:RL:RL", {"cuts": (19, 10)}, r"leave a region"),
        ("IN+RL@26-28", {}, r"layers '26-28', but the decoder has layers 0 to 27"),
        ("IN+RL@9-5", {}, r"layers '9-5'"),
        ("IN+RL", {}, r"'\+RL' is not like \+RL@14-17"),
        ("IN+RL@", {}, r"is not like"),
        ("IN+RL@head", {}, r"is not like"),
        ("IN:1.5:RL", {}, r"'1.5' is neither"),
        ("IN::RL", {}, r"'' is neither"),
        ("IN:RL:RL", {"rest_from": {"eyes": "IN"}}, r"unknown part 'eyes'; known: vision_tower"),
    ],
)
def test_what_does_not_parse_is_named(spec, options, says):
    with pytest.raises(InputError, match=says):
        Assignment.parse(spec, 28, options.get("cuts"), options.get("rest_from", "early"))
