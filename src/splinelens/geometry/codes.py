"""Which region of an MLP each token falls into, one bit a neuron, and how far regions lie apart.

The signs of a token's gate name its region; packed eight to a byte they take 1/32 of the margins.
Neurons of two layers have nothing to do with each other: read ``layer_distance`` against
``independent_distance``. Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
"""

from hashlib import blake2b

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from splinelens.errors import BadFeatures, NoTokens

_PIECE = 512  # bytes, so 4,096 neurons, unpacked at a time


def region_code(margin: Float[Tensor, "*text token neuron"]) -> UInt8[Tensor, "*text token byte"]:
    """The signs of each token's margins, packed eight neurons to a byte.

    Args:
        margin: Signed margins, or gate values: only the sign is read. Exactly 0 and NaN count as off.

    Returns:
        Packed codes. Neuron 0 is the highest bit of byte 0; the bits after the last neuron are 0.

    Example:
        >>> region_code(torch.tensor([[1.5, -2.0, 0.0, 4.0]]))
        tensor([[144]], dtype=torch.uint8)
    """
    on = torch.nn.functional.pad(margin > 0, (0, -margin.shape[-1] % 8))
    bits = on.unflatten(-1, (on.shape[-1] // 8, 8)).to(torch.uint8)
    return (bits << _shifts(bits)).sum(dim=-1, dtype=torch.uint8)


def unpacked(code: UInt8[Tensor, "*text token byte"], neurons: int) -> Bool[Tensor, "*text token neuron"]:
    """The signs again, one a neuron: what ``region_code`` packed.

    Args:
        code: Packed codes.
        neurons: How many neurons were packed.

    Returns:
        True where the neuron is on.

    Raises:
        BadFeatures: So many neurons do not fill that many bytes.

    Example:
        >>> unpacked(torch.tensor([[144]], dtype=torch.uint8), 4)
        tensor([[ True, False, False,  True]])
    """
    _check(code, neurons)
    return _bits(code)[..., :neurons].bool()


def region_ids(code: UInt8[Tensor, "token byte"]) -> list[str]:
    """A short name of each token's region, equal for tokens of the same region.

    Args:
        code: Packed codes of one layer.

    Returns:
        16 hexadecimal digits a token (BLAKE2b of the code). Two different regions share a name with
        probability 2**-64. Names of different layers or models are not comparable.

    Example:
        >>> region_ids(torch.tensor([[144], [144], [16]], dtype=torch.uint8))
        ['f9be920e63136958', 'f9be920e63136958', 'bfe893145eef9752']
    """
    return [blake2b(row.tobytes(), digest_size=8).hexdigest() for row in code.cpu().numpy()]


def distinct_regions(code: UInt8[Tensor, "token byte"]) -> int:
    """How many different regions the tokens visit, from 0 to the number of tokens.

    Args:
        code: Packed codes of one layer, of one text or of many.

    Returns:
        The number of distinct codes.

    Example:
        >>> distinct_regions(torch.tensor([[144], [144], [16]], dtype=torch.uint8))
        2
    """
    return len({row.tobytes() for row in code.cpu().numpy()})


def hamming(
    code: UInt8[Tensor, "token byte"], other: UInt8[Tensor, "other byte"]
) -> Int[Tensor, "token other"]:
    """How many neurons of one layer differ in sign, for every pair of tokens.

    The number of that layer's walls between the two tokens: each one is crossed by the straight line
    from the one to the other.

    Args:
        code: Packed codes of some tokens.
        other: Packed codes of the same layer at other tokens, or ``code`` itself.

    Returns:
        Whole numbers, from 0 (same region) to the number of neurons.

    Example:
        >>> code = region_code(torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]))
        >>> hamming(code, code)
        tensor([[0, 2],
                [2, 0]])
    """
    total = torch.zeros(len(code), len(other), dtype=torch.int64, device=code.device)
    for left, right in zip(code.split(_PIECE, dim=-1), other.split(_PIECE, dim=-1), strict=True):
        # Of n signs, agreeing minus differing is the product of the signs as -1 and 1: exact in float32.
        balance = (2.0 * _bits(left) - 1.0) @ (2.0 * _bits(right) - 1.0).T
        total = total + (8 * left.shape[-1] - balance).to(torch.int64) // 2
    return total


def text_distance(
    code: UInt8[Tensor, "token byte"], other: UInt8[Tensor, "other byte"], neurons: int
) -> float:
    """Mean share of neurons that differ in sign between a token of one text and a token of another.

    The mean over all pairs of tokens follows from the occupancies p and q of the two texts (the share of
    their tokens at which a neuron is on), see ``occupancy_distance``. So it takes no pairs.
    A text has a distance to itself, too: how much its own tokens differ.

    Args:
        code: Packed codes of one text at one layer.
        other: Packed codes of the other text at that layer.
        neurons: How many neurons were packed.

    Returns:
        A share in [0, 1].

    Raises:
        NoTokens: One of the texts has no tokens.
        BadFeatures: So many neurons do not fill that many bytes, or there is none.

    Example:
        >>> code = region_code(torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]))
        >>> round(text_distance(code, code[:1], neurons=3), 4)
        0.3333
    """
    _check(code, neurons, at_least=1)
    if not (len(code) and len(other)):
        raise NoTokens(f"codes of {len(code)} and of {len(other)} tokens have no pair to compare; give both")
    p, q = (_bits(each).mean(dim=0, dtype=torch.float64)[:neurons] for each in (code, other))
    return float(occupancy_distance(p, q))


def occupancy_distance(
    p: Float[Tensor, "*text neuron"], q: Float[Tensor, "*text neuron"]
) -> Float[Tensor, "*text"]:
    """Mean share of neurons that differ in sign between tokens of two texts, from their occupancies.

    Of a token of the one and a token of the other, neuron k differs for a share ``p_k (1 - q_k) +
    q_k (1 - p_k)`` of all pairs; the mean over k is taken.

    Args:
        p: Occupancies of one text: the share of its tokens at which each neuron is on, in [0, 1].
        q: Occupancies of the other text at that layer.

    Returns:
        A share in [0, 1]; NaN for no neurons.

    Example:
        >>> occupancy_distance(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5]))
        tensor(0.7500)
    """
    return (p * (1 - q) + q * (1 - p)).mean(dim=-1)


def layer_distance(code: UInt8[Tensor, "layer token byte"], neurons: int) -> Float[Tensor, "layer layer"]:
    """Mean share of neurons of equal number that differ in sign between two layers, at the same token.

    Neuron k of one layer is not the same thing as neuron k of the next. Where the numbers mean nothing,
    two layers differ as much as unmatched codes do, see ``independent_distance``; only what lies below
    or above that says anything.

    Args:
        code: Packed codes of a text at several layers with equally many neurons.
        neurons: How many neurons were packed.

    Returns:
        Shares in [0, 1], symmetric, 0 on the diagonal.

    Raises:
        NoTokens: There are no tokens.
        BadFeatures: So many neurons do not fill that many bytes, or there is none.

    Example:
        >>> layer_distance(region_code(torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]]])), neurons=2)
        tensor([[0.0000, 0.5000],
                [0.5000, 0.0000]])
    """
    _check(code, neurons, at_least=1)
    if not code.shape[1]:
        raise NoTokens("codes of 0 tokens have no distance between layers; give the codes of a text")
    signs = code.flatten(1)  # the tokens' codes one after the other: all their neurons counted at once
    return hamming(signs, signs).float() / (code.shape[1] * neurons)


def independent_distance(share_a: float, share_b: float) -> float:
    """The distance that two codes have if their neurons have nothing to do with each other.

    Of two independent signs, on with probabilities a and b, ``a (1 - b) + b (1 - a)`` differ.

    Args:
        share_a: Sign fraction of the one, in [0, 1].
        share_b: Sign fraction of the other, in [0, 1].

    Returns:
        The expected share of neurons that differ, in [0, 1].

    Raises:
        BadFeatures: A share lies outside [0, 1] or is not a number.

    Example:
        >>> round(independent_distance(0.25, 0.5), 4)
        0.5
    """
    if not (0 <= share_a <= 1 and 0 <= share_b <= 1):
        raise BadFeatures(f"sign fractions {share_a} and {share_b}: both must lie in [0, 1]")
    return share_a * (1 - share_b) + share_b * (1 - share_a)


def _bits(code: UInt8[Tensor, "*text byte"]) -> UInt8[Tensor, "*text bit"]:
    """Every bit of the codes as 0 or 1, the padding too."""
    bits = code.unsqueeze(-1)
    return ((bits >> _shifts(bits)) & 1).flatten(-2)


def _shifts(like: Tensor) -> UInt8[Tensor, "8"]:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=like.device)


def _check(code: UInt8[Tensor, "*text byte"], neurons: int, at_least: int = 0) -> None:
    size = code.shape[-1]
    if neurons < at_least or -(-neurons // 8) != size:
        found = f"{8 * size - 7} to {8 * size}" if size else "0"
        raise BadFeatures(f"codes of {size} bytes hold {found} neurons, not {neurons}; pass the gate's rows")
