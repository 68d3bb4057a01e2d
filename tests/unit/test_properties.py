"""What must hold of any input: hybrid specifications, parameter names, numbers and boxes, corrections and intervals, pins."""

import contextlib
from fractions import Fraction

import numpy as np
import pandas as pd
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from frankenstein.claims.verdicts import report_level
from frankenstein.core.errors import InputError
from frankenstein.core.intervals import paired, wilson
from frankenstein.grading.extraction import boxed
from frankenstein.grading.numbers import number
from frankenstein.merging.hybrid_spec import BLOCKS, Assignment
from frankenstein.models.architecture import Part
from frankenstein.study import pin

NAMES = st.sampled_from(["IN", "RL", "BASE", "R1"])
TEXT = st.text(max_size=60)


@st.composite
def hybrids(draw):
    """(layers, cuts, region donors, overlays), and the specification that says so."""
    layers = draw(st.integers(3, 40))
    donors = draw(st.lists(NAMES, min_size=1, max_size=min(4, layers)))
    cuts = sorted(draw(st.sets(st.integers(1, layers - 1), min_size=len(donors) - 1, max_size=len(donors) - 1)))
    overlays = []
    for donor in draw(st.lists(NAMES, max_size=3)):
        first = draw(st.integers(0, layers - 1))
        last = draw(st.integers(first, layers - 1))
        overlays.append((donor, first, last, draw(st.sampled_from(["", *BLOCKS]))))
    spec = ":".join(donors) + "".join(
        f"+{donor}@{first}-{last}{'.' + block if block else ''}" for donor, first, last, block in overlays
    )
    return layers, cuts, donors, overlays, spec


@given(hybrids())
def test_a_hybrid_is_its_regions_under_its_overlays(hybrid):
    layers, cuts, donors, overlays, spec = hybrid
    assignment = Assignment.parse(spec, layers, tuple(cuts))
    for layer in range(layers):
        for block in (*BLOCKS, "norm"):
            expected = donors[sum(layer >= cut for cut in cuts)]
            for donor, first, last, of in overlays:
                if first <= layer <= last and of in ("", block):
                    expected = donor
            assert assignment.choice(Part("layer", layer, block)).donor == expected


@given(TEXT, st.integers(1, 40))
def test_a_specification_parses_or_is_refused(text, layers):
    with contextlib.suppress(InputError):
        assert len(Assignment.parse(text, layers).regions) == 1 + text.partition("+")[0].count(":")


@given(st.integers(-(10**9), 10**9), st.integers(0, 4))
def test_a_number_is_read_in_every_notation(value, places):
    exact = Fraction(value, 10**places)
    plain = f"{value / 10**places:.{places}f}" if abs(value) < 10**12 else str(value)
    assert number(plain) == Fraction(plain)
    assert number(f"{value:,}") == value
    assert number(f"${value:,}$".replace(",", "{,}")) == value
    if places and exact.denominator > 1:
        sign = "-" if exact < 0 else ""
        assert number(f"{sign}\\frac{{{abs(exact.numerator)}}}{{{exact.denominator}}}") == exact


@given(TEXT)
def test_any_text_is_a_number_or_none(text):
    assert number(text) is None or isinstance(number(text), Fraction)


BALANCED = st.recursive(
    st.text("abcxyz 0123+-=", max_size=8), lambda inner: inner.map(lambda text: "{" + text + "}") | st.tuples(inner, inner).map("".join)
)  # fmt: skip


@given(BALANCED, st.text("abc .", max_size=10))
def test_a_box_holds_what_stands_between_its_braces(inside, around):
    assert boxed(f"{around}\\boxed{{{inside}}}{around}") == inside.strip()


@given(st.lists(st.floats(0, 0.05) | st.floats(0, 1), min_size=1, max_size=20))
def test_one_level_decides_as_holms_procedure(ps):
    """What is at most the report's level is what statsmodels' Holm rejects, of three decisions a claim."""
    frame = pd.DataFrame({"claim": range(len(ps)), "p_for": ps, "p_against": 1.0, "p_within": 1.0, "over": "runs"})
    all_ps = np.concatenate([ps, np.ones(2 * len(ps))])
    rejected = multipletests(all_ps, 0.05, method="holm")[0][: len(ps)]
    assert list(np.array(ps) <= report_level(frame)) == list(rejected)


@given(st.integers(1, 3000), st.data())
def test_an_interval_holds_its_rate_and_shrinks_with_n(n, data):
    k = data.draw(st.integers(0, n))
    one, tenfold = wilson(k, n), wilson(10 * k, 10 * n)
    assert -1e-9 <= one["low"] <= k / n + 1e-9
    assert k / n - 1e-9 <= one["high"] <= 1 + 1e-9
    assert tenfold["high"] - tenfold["low"] < one["high"] - one["low"]


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 400))
def test_a_paired_interval_turns_with_its_sides(n10, n01, rest):
    n = n10 + n01 + rest
    assume(n > 0)
    one, turned = paired(n10, n01, n), paired(n01, n10, n)
    assert one["low"] < one["high"]
    np.testing.assert_allclose([one["low"], one["high"]], [-turned["high"], -turned["low"]], atol=1e-12)


KEYS = st.text("abcdefgh", min_size=1, max_size=6)
VALUES = st.integers(0, 999) | st.text("xyz ", min_size=1, max_size=5).map(str.strip).filter(bool)


@settings(deadline=None)
@given(
    st.dictionaries(KEYS, VALUES, min_size=1, max_size=4),
    st.dictionaries(
        KEYS, st.text("0123456789abcdef", min_size=4, max_size=8).map(lambda text: "r" + text), min_size=1, max_size=3
    ),
    st.booleans(),
)
def test_a_pin_changes_its_own_keys_and_keeps_all_else(before, new, flow):
    whole = (
        "# A comment.\n"
        + yaml.safe_dump({"here": before}, default_flow_style=None if flow else False)
        + "other: 1  # kept\n"
    )
    node = dict((key.value, value) for key, value in yaml.compose(whole).value)["here"]
    text = whole
    for start, end, value in sorted(pin._edits(whole, node, new), reverse=True):
        text = text[:start] + value + text[end:]
    assert yaml.safe_load(text) == {"here": before | new, "other": 1}
    assert text.startswith("# A comment.\n")
    assert text.endswith("other: 1  # kept\n")
