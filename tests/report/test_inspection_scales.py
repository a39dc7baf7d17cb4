"""Tests ``report/inspection_scales.py``: where a number stands among colours and on axes, in both texts."""

import numpy as np
import pytest

from splinelens.geometry.attention import THRESHOLDS
from splinelens.report.inspection_scales import DEPTH, Grown, Scale, depth_colour, scales


def test_a_scale_reaches_from_the_smallest_to_the_largest_number_of_both_texts(inspection):
    found = inspection("one", "two")
    logs = [np.log10(text.boundary) for text in found.portraits]
    scale = scales(found)["boundary"]
    assert (scale.low, scale.high) == (
        pytest.approx(min(map(np.min, logs))),
        pytest.approx(max(map(np.max, logs))),
    )


def test_one_layer_of_thirty_does_not_take_the_colours_of_the_signs(inspection):
    found = inspection("a" * 20, layers=30)
    sign = found.portraits[0].sign
    sign[0] = 0.99
    scale = scales(found)["sign"]
    others = sign[1:]
    assert others.min() <= scale.low < scale.high <= others.max()
    assert [words[0] for _, words in scale.ticks] == ["≤", "0", "≥"]
    sign[:] = np.where(np.arange(20) % 2, 0.25, 0.75)
    assert [words for _, words in scales(found)["sign"].ticks] == ["0.25", "0.5", "0.75"]


def test_a_growing_number_has_a_logarithmic_axis_only_if_it_is_ever_above_0():
    linear = Grown.of([np.array([1.0, 3.0])], log=False)
    assert (linear.axis, linear.lowest) == ({"range": [0.9, 3.1]}, None)
    log = Grown.of([np.array([0.0, 0.2]), np.array([10.0, np.inf])], log=True)
    assert log.axis == {"type": "log", "range": pytest.approx([-1.1, 1.1])}
    assert log.drawn(np.array([0.0, 0.05, 2.0])).tolist() == [0.1, 0.1, 2.0]
    assert Grown.of([np.zeros(3)], log=True).axis == {"range": [-1, 1]}
    assert Grown.of([np.array([np.inf])], log=True).axis == {}


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
