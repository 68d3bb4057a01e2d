import numpy as np
import pytest
from scipy import stats

from frankenstein.claims import estimates


@pytest.mark.parametrize("n", [5, 12, 40])  # all 32 or 4,096 sign flips; a draw of them
@pytest.mark.parametrize("shift", [0, 0.5, -0.5])
def test_both_tails_are_scipys(n, shift):
    values = np.round(np.random.default_rng(n).normal(size=n) + shift, 1)
    made = estimates._permuted((values,), np.mean, "samples", 3)
    for alternative, p in zip(("greater", "less"), made, strict=True):
        twin = stats.permutation_test(
            (values,), np.mean, permutation_type="samples", vectorized=True, n_resamples=4999, alternative=alternative,
            rng=np.random.default_rng(3),
        )  # fmt: skip
        assert p == pytest.approx(twin.pvalue)


def test_paired_differences_of_hits_are_mcnemars():
    values = np.repeat([1, -1, 0], [13, 4, 83])
    found = estimates.of_mean(values, "examples", 0)
    assert 2 * found.p_greater == pytest.approx(stats.binomtest(13, 17).pvalue)
    assert found.value == 0.09
    assert found.low < 0.09 < found.high


def test_of_too_little_nothing_is_said():
    one = estimates.of_mean([0.3], "examples", 0)
    assert (one.p_greater, one.p_less) == (1, 1)
    assert np.isnan(one.low)
    assert np.isnan(one.needed())
    same = estimates.of_mean([1 / 3] * 30, "examples", 0)
    assert same.value == pytest.approx(1 / 3)
    assert np.isnan(same.detectable())
    assert estimates.of_mean([], "examples", 0).n == 0
    assert estimates.of_mean([np.nan, 1.0], "examples", 0).p_greater == 1
    # Four equal signs can not be told at 5 %, however even they are: six can.
    assert estimates.of_mean([0.2, 0.25, 0.22, 0.21], "examples", 0).needed() == 6
