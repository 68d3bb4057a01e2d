import itertools

import pytest

from frankenstein.core.errors import InputError
from frankenstein.core.regions import Regions
from frankenstein.merging.hybrid_spec import HYBRIDS


def test_the_papers_regions():
    regions = Regions((10, 19), 28)
    assert [len(regions.range(name)) for name in ("early", "mid", "late")] == [10, 9, 9]
    assert [regions.of(layer) for layer in (0, 9, 10, 18, 19, 27)] == ["early", "early", "mid", "mid", "late", "late"]


def test_regions_cover_each_layer_once():
    regions = Regions((3, 6), 9)
    covered = [layer for name in ("early", "mid", "late") for layer in regions.range(name)]
    assert covered == list(range(9))
    assert all(layer in regions.range(regions.of(layer)) for layer in range(9))


@pytest.mark.parametrize("cuts", [(0, 5), (5, 5), (6, 3), (3, 9), (-1, 4)])
def test_an_empty_region_is_refused(cuts):
    with pytest.raises(InputError, match=r"regions\.cuts"):
        Regions(cuts, 9)


def test_the_six_hybrids():
    every = {":".join(donors) for donors in itertools.product(("IN", "RL"), repeat=3)}
    assert sorted(HYBRIDS) == sorted(every - {"IN:IN:IN", "RL:RL:RL"})
