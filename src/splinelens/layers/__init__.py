"""Reading each layer's tensors during a forward pass."""

from splinelens.layers.attention import AttentionCall
from splinelens.layers.hooks import Reader, watch

__all__ = ["AttentionCall", "Reader", "watch"]
