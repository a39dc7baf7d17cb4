"""Tests geometry/attention.py: calls without keys, and with a cap that is none."""

import math

import pytest
import torch

from splinelens.errors import BadFeatures
from splinelens.geometry.attention import attention_scores, intrinsic_dimensions

QUERY = torch.ones(4, 3, 8)


def test_queries_without_a_key_see_none():
    assert not intrinsic_dimensions(QUERY, torch.ones(2, 0, 8), scaling=1.0).any()


def test_keys_without_a_head_are_refused():
    with pytest.raises(BadFeatures, match="there is no head of keys; pass the keys that attention is given"):
        intrinsic_dimensions(QUERY, torch.ones(0, 3, 8), scaling=1.0)


@pytest.mark.parametrize("softcap", [0.0, -1.0, math.nan, math.inf])
def test_a_cap_that_is_none_is_refused(softcap):
    for read in (intrinsic_dimensions, attention_scores):
        with pytest.raises(BadFeatures, match=r"softcap is .*; pass a number above 0, or None"):
            read(QUERY, QUERY, scaling=1.0, softcap=softcap)
