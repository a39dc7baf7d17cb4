"""Each layer's tensors during a pass: ``watch`` hands them to readers and leaves no trace."""

from splinelens.layers.attention import AttentionCall
from splinelens.layers.watching import Reader, watch

__all__ = ["AttentionCall", "Reader", "watch"]
