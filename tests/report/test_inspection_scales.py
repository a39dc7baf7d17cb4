"""Tests ``report/inspection_scales.py``: which colour stands for which number, equally in both texts."""

import numpy as np
import pytest

from splinelens.geometry.attention import THRESHOLDS
from splinelens.report.inspection_scales import DEPTH, Scale, depth_colour, scales


def test_a_scale_reaches_from_the_smallest_to_the_largest_number_of_both_texts(inspection):
    found = inspection("one", "two")
    signs = [text.sign for text in found.portraits]
    scale = scales(found)["sign"]
    assert (scale.low, scale.high) == (
        pytest.approx(min(map(np.min, signs))),
        pytest.approx(max(map(np.max, signs))),
    )


def test_a_logarithmic_scale_has_a_tick_at_each_decade_between_its_ends():
    scale = Scale.over([np.array([0.002, 20.0])], ("#000", "#fff"), log=True)
    words = [words for _, words in scale.ticks]
    assert words == ["0.002", "0.01", "0.1", "1", "20"]  # 10 would touch the end
    assert scale.ticks[1][0] == pytest.approx((-2 - np.log10(0.002)) / 4)


def test_a_distance_of_0_takes_the_low_end_and_is_named_there():
    scale = Scale.over([np.array([0.0, 0.01, 1.0])], ("#000", "#fff"), log=True)
    assert scale.ticks[0] == (0.0, "0")
    assert scale.low < -2
    assert scale.high == 0


@pytest.mark.parametrize("values", [[], [0.0], [0.5, 0.5], [np.inf, np.nan], [-1.0]])
@pytest.mark.parametrize("log", [False, True])
def test_no_scale_is_without_length(values, log):
    scale = Scale.over([np.array(values)], ("#000", "#fff"), log)
    assert np.isfinite([scale.low, scale.high]).all()
    assert scale.low < scale.high
    assert scale.ticks


def test_layers_without_softmax_do_not_reach_into_the_scale(inspection):
    found = inspection("abc")
    found.portraits[0].dimension[:, 0] = -1
    assert scales(found)["absolute"].low >= 2  # two heads, one vertex each
    found.portraits[0].dimension[:] = -1
    assert not {"absolute", "relative", "heads-absolute"} & set(scales(found))


def test_only_the_unlimited_form_is_logarithmic(inspection):
    found = scales(inspection("abc"))
    assert [found[name].log for name in THRESHOLDS] == [False, True]


def test_layers_take_the_colours_between_the_first_and_the_last():
    assert depth_colour(0.0) == DEPTH[0]
    assert depth_colour(1.0) == DEPTH[-1]
    assert depth_colour(0.5) == DEPTH[2]
    assert len({depth_colour(share) for share in np.linspace(0, 1, 30)}) == 30
