"""Intervals and tests over runs and over examples, each against its obvious twin."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from frankenstein.claims.estimates import (
    EXAMPLES,
    MATRICES,
    Sample,
    over_examples,
    over_runs,
    sample,
    sign_flip,
    smallest,
)
from frankenstein.core import intervals
from frankenstein.core.intervals import paired


def of(values, unit=EXAMPLES, **labels) -> Sample:
    return sample(pd.Series(np.asarray(values, float)), unit, **labels)


def answers(won, lost, n):
    return [1] * won + [-1] * lost + [0] * (n - won - lost)


@pytest.mark.parametrize(("won", "lost", "n"), [(0, 0, 50), (3, 0, 10), (12, 5, 100), (40, 2, 320), (50, 50, 100)])
def test_paired_answers_of_one_run_have_bonett_and_prices_interval_and_its_own_test(won, lost, n):
    found = over_examples(of(answers(won, lost, n)))
    assert (found.low, found.high) == pytest.approx(tuple(paired(won, lost, n).values()))
    assert found.value == (won - lost) / n
    assert found.low < found.high  # also without a discordant pair


def test_the_interval_and_the_test_never_disagree():
    for n in (12, 40, 100):
        for won in range(n + 1):
            for lost in range(0, n + 1 - won, 3):
                found = over_examples(of(answers(won, lost, n)))
                p = min(1.0, 2 * min(found.above(), found.below()))
                assert (p < 0.05) == (found.low > 0 or found.high < 0), (won, lost, n)


def test_other_values_of_one_run_have_the_t_interval():
    values = np.random.default_rng(0).normal(0.3, 1, 30)
    found, twin = over_examples(of(values)), stats.ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(twin.confidence_interval(0.95)))
    assert 2 * found.above() == pytest.approx(twin.pvalue)
    assert found.above(0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="greater").pvalue)


def test_a_contrast_of_equal_shares_is_a_scaled_pair_of_answers():
    found = over_examples(of(np.array(answers(12, 5, 100)) / 3))
    bounds = paired(12, 5, 100)
    assert (found.low, found.high) == pytest.approx((bounds["low"] / 3, bounds["high"] / 3))


def test_versions_of_one_problem_count_as_one():
    """Five copies of every answer say no more than one."""
    alone = np.array(answers(12, 5, 60))
    copies = over_examples(of(np.repeat(alone, 5), clusters=np.repeat(np.arange(60), 5)))
    assert copies.error == pytest.approx(over_examples(of(alone)).error, rel=0.06)
    assert over_examples(of(np.repeat(alone, 5))).error < 0.5 * copies.error


def test_tasks_weigh_alike():
    one, other = np.array(answers(30, 0, 40)), np.array(answers(0, 100, 1000))
    strata = np.repeat(["small", "large"], [40, 1000])
    found = over_examples(of(np.concatenate([one, other]), strata=strata))
    assert found.value == pytest.approx((0.75 - 0.1) / 2)
    assert found.error == pytest.approx(np.hypot(over_examples(of(one)).error, over_examples(of(other)).error) / 2)


def test_over_runs_of_weights_is_the_t_test():
    rng = np.random.default_rng(1)
    runs = [of(rng.normal(0.2, 1, 20), MATRICES) for _ in range(6)]
    numbers = [run.value for run in runs]
    found, twin = over_runs(runs), stats.ttest_1samp(numbers, 0)
    assert (found.low, found.high) == pytest.approx(tuple(twin.confidence_interval(0.95)))
    assert 2 * min(found.above(), found.below()) == pytest.approx(twin.pvalue)
    assert found.sign_flip == pytest.approx(
        stats.permutation_test((numbers,), np.mean, permutation_type="samples").pvalue
    )
    assert over_examples(runs[0]).over == ""  # of one run: a number, and nothing to test


def test_the_draw_of_the_examples_is_in_the_variance_over_runs():
    """Against the variance components of a balanced two-way table, worked out by hand."""
    rng = np.random.default_rng(2)
    runs, n = 5, 80
    table = rng.normal(size=(runs, 1)) * 0.1 + rng.normal(size=n) + rng.normal(size=(runs, n)) * 0.5
    found = over_runs([of(row) for row in table])
    rows, columns = table.mean(1), table.mean(0)
    rest = table - rows[:, None] - columns + table.mean()
    single = (rest**2).sum() / ((runs - 1) * (n - 1))
    expected = rows.var(ddof=1) / runs + columns.var(ddof=1) / n - single / (runs * n)
    assert found.error**2 == pytest.approx(expected)
    assert found.both == pytest.approx(single / (runs * n))
    assert found.df == runs - 1
    # Without an effect of the examples they add nothing but chance.
    luck = over_runs([of(row) for row in rng.normal(size=(runs, 1)) + rng.normal(size=(runs, n))])
    assert luck.error**2 < 1.2 * luck.by_runs


def test_over_runs_agrees_with_clustering_by_run_and_example():
    """statsmodels' two-way clustered errors, which correct for the numbers of clusters in another way."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    runs, n = 30, 60
    table = rng.normal(size=(runs, 1)) * 0.3 + rng.normal(size=n) * 0.5 + rng.normal(size=(runs, n))
    at = np.indices((runs, n)).reshape(2, -1).T
    twin = sm.OLS(table.ravel(), np.ones(runs * n)).fit(cov_type="cluster", cov_kwds={"groups": at})
    found = over_runs([of(row) for row in table])
    assert found.value == pytest.approx(twin.params[0])
    assert found.error == pytest.approx(twin.bse[0], rel=0.05)


def test_runs_that_agree_by_chance_do_not_make_an_interval_of_no_width():
    """Two runs of eight answers, none of which changed, do not show that nothing changes."""
    nothing = over_runs([of(answers(0, 0, 8))] * 2)
    assert nothing.low < -0.1 < 0.1 < nothing.high
    assert nothing.within(0.03) > 0.2
    runs, n = nothing.needed(0.03, 0.025)
    assert runs <= 100  # more answers would show it
    assert runs * n > 100
    alike = over_runs([of(answers(3, 1, 100)), of(answers(1, 0, 50) + answers(2, 1, 50))])
    assert alike.error**2 >= 0.99 * sum(over_examples(of(answers(3, 1, 100))).error ** 2 for _ in range(2)) / 4


def test_runs_that_agree_by_chance_have_an_interval_in_tables_too():
    assert intervals.over_runs([0.2, 0.2], [0.03, 0.04])["high"] == pytest.approx(0.2 + 12.706 * 0.05 / 2, abs=1e-4)
    apart = intervals.over_runs([0.1, 0.3, 0.5], [0.01] * 3)
    assert apart == pytest.approx(intervals.student([0.1, 0.3, 0.5]))
    assert np.isnan(intervals.over_runs([0.2], [0.1])["low"])
    assert intervals.standard_error(intervals.paired(30, 10, 400)) == pytest.approx(
        np.sqrt(40 / 400 - 0.05**2) / 20, rel=0.05
    )


def test_runs_with_other_failures_are_compared_on_what_all_have():
    one, other = pd.Series([0.1, 0.5, 0.9], index=list("abc")), pd.Series([0.7, 0.3, 0.0], index=list("cbd"))
    found = over_runs([sample(one, EXAMPLES), sample(other, EXAMPLES)])
    assert found.units == 2
    assert found.value == pytest.approx(np.mean([0.7, 0.5]))


def test_the_smallest_of_several():
    rng = np.random.default_rng(4)
    high, low = ([of(rng.normal(mean, 1, 40)) for _ in range(8)] for mean in (2.0, 0.5))
    both = smallest([over_runs(high), over_runs(low)])
    assert both.value == over_runs(low).value
    assert both.above() == max(over_runs(high).above(), over_runs(low).above())
    assert both.below(5) == min(1, 2 * min(over_runs(high).below(5), over_runs(low).below(5)))


def test_equivalence_is_two_one_sided_tests():
    numbers = np.random.default_rng(5).normal(0, 0.01, 12)
    found = over_runs([of([number], MATRICES) for number in numbers])
    sides = [
        stats.ttest_1samp(numbers, bound, alternative=side).pvalue
        for bound, side in ((-0.03, "greater"), (0.03, "less"))
    ]
    assert found.within(0.03) == pytest.approx(max(sides))
    assert found.within(np.nan) == 1


@pytest.mark.parametrize("runs", [3, 8, 13, 20])
def test_sign_flips_of_runs(runs):
    values = np.random.default_rng(runs).normal(0.4, 1, runs)
    twin = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(1)
    )
    assert sign_flip(values) == pytest.approx(twin.pvalue, abs=1e-12 if runs < 14 else 0.02)
    assert sign_flip(np.zeros(runs)) == 1


def test_what_is_needed_has_the_power_it_promises():
    """Of studies of the promised size with an effect of the margin, four in five find it."""
    rng = np.random.default_rng(6)

    def study(runs, n, effect=0.0):
        rates = effect + rng.normal(0, 0.02, (runs, 1))
        draws = rng.random((runs, n))
        return [of(row) for row in np.where(draws < 0.1 + rates / 2, 1.0, np.where(draws > 0.9 + rates / 2, -1.0, 0.0))]

    n = 400
    runs, enough = over_runs(study(200, n)).needed(0.03, 0.025)  # a pilot large enough to know the variances
    assert enough == n
    assert 8 <= runs <= 14
    found = np.mean([over_runs(study(runs, n, 0.03)).above() <= 0.025 for _ in range(400)])
    assert 0.73 < found < 0.9


def test_more_examples_are_asked_for_where_no_runs_suffice():
    rng = np.random.default_rng(7)
    of_examples = rng.choice([-1.0, 0.0, 1.0], 50)
    runs = [of(of_examples + rng.normal(0, 0.01, 50)) for _ in range(4)]
    needed = over_runs(runs).needed(0.03, 0.025)
    assert needed[1] > 50
    weights = over_runs([of([number], MATRICES) for number in rng.normal(0, 5, 4)])
    assert weights.needed(0.01, 0.025) == (np.inf, np.inf)
    alone = over_examples(of(answers(10, 5, 100)))
    assert np.isnan(alone.needed(0.03, 0.025)[0])
    assert alone.needed(0.03, 0.025)[1] > 100
