"""Region codes, one bit per neuron, and Hamming distances between them.

The signs of a token's gate identify its region; packed eight per byte they take 1/32 of the memory of the
margins. Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
"""

from hashlib import blake2b

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from splinelens.errors import BadFeatures, NoTokens

_BYTES = 512  # unpacked at once: 4,096 neurons


def region_code(margin: Float[Tensor, "*text token neuron"]) -> UInt8[Tensor, "*text token byte"]:
    """The signs of each token's margins, packed eight neurons per byte.

    Args:
        margin: Signed margins or gate values: only the sign is used. 0 and NaN count as off.

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
    """Unpack codes to one sign per neuron, the inverse of ``region_code``.

    Returns:
        True where the neuron is on.

    Raises:
        BadFeatures: The codes have a different number of bytes.

    Example:
        >>> unpacked(torch.tensor([[144]], dtype=torch.uint8), 4)
        tensor([[ True, False, False,  True]])
    """
    _check(code, neurons)
    return _bits(code)[..., :neurons].bool()


def region_ids(code: UInt8[Tensor, "token byte"]) -> list[str]:
    """A short identifier of each token's region, equal for tokens of the same region.

    Returns:
        16 hexadecimal digits per token (BLAKE2b of the code). Two different regions collide with
        probability 2**-64. Not comparable between layers or models.

    Example:
        >>> region_ids(torch.tensor([[144], [144], [16]], dtype=torch.uint8))
        ['f9be920e63136958', 'f9be920e63136958', 'bfe893145eef9752']
    """
    return [blake2b(row.tobytes(), digest_size=8).hexdigest() for row in code.cpu().numpy()]


def distinct_regions(code: UInt8[Tensor, "token byte"]) -> int:
    """Number of different regions among the tokens.

    Returns:
        Number of distinct codes, from 0 to the number of tokens.

    Example:
        >>> distinct_regions(torch.tensor([[144], [144], [16]], dtype=torch.uint8))
        2
    """
    return len({row.tobytes() for row in code.cpu().numpy()})


def hamming(
    code: UInt8[Tensor, "token byte"], other: UInt8[Tensor, "other byte"]
) -> Int[Tensor, "token other"]:
    """Number of neurons of one layer that differ in sign, for every pair of tokens.

    This is the number of the layer's hyperplanes that the straight line between two tokens crosses.

    Returns:
        Counts from 0 (same region) to the number of neurons.

    Example:
        >>> code = region_code(torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]))
        >>> hamming(code, code)
        tensor([[0, 2],
                [2, 0]])
    """
    total = torch.zeros(len(code), len(other), dtype=torch.int64, device=code.device)
    for left, right in zip(code.split(_BYTES, dim=-1), other.split(_BYTES, dim=-1), strict=True):
        # The inner product of signs -1 and 1 is the number of equal minus unequal ones, exact in float32.
        balance = (2.0 * _bits(left) - 1.0) @ (2.0 * _bits(right) - 1.0).T
        total = total + (8 * left.shape[-1] - balance).to(torch.int64) // 2
    return total


def text_distance(
    code: UInt8[Tensor, "token byte"], other: UInt8[Tensor, "other byte"], neurons: int
) -> float:
    """Mean share of neurons that differ in sign, over all pairs of a token of one text and one of another.

    Computed from the occupancies of the two texts, see ``occupancy_distance``, without the pairs. The
    distance of a text to itself is not 0: it says how much its tokens differ.

    Returns:
        A share in [0, 1].

    Raises:
        NoTokens: One of the texts has no tokens.
        BadFeatures: No neurons, or the codes have a different number of bytes.

    Example:
        >>> code = region_code(torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]))
        >>> round(text_distance(code, code[:1], neurons=3), 4)
        0.3333
    """
    _check(code, neurons, at_least=1)
    if not (len(code) and len(other)):
        raise NoTokens(f"codes of {len(code)} and {len(other)} tokens have no pair to compare; pass both")
    p, q = (_bits(each).mean(dim=0, dtype=torch.float64)[:neurons] for each in (code, other))
    return float(occupancy_distance(p, q))


def occupancy_distance(
    p: Float[Tensor, "*text neuron"], q: Float[Tensor, "*text neuron"]
) -> Float[Tensor, "*text"]:
    """Mean share of neurons that differ in sign between tokens of two texts, from their occupancies.

    Neuron k differs in a share ``p_k (1 - q_k) + q_k (1 - p_k)`` of all pairs of tokens; the result is
    the mean over k.

    Returns:
        A share in [0, 1]; NaN without neurons.

    Example:
        >>> occupancy_distance(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5]))
        tensor(0.7500)
    """
    return (p * (1 - q) + q * (1 - p)).mean(dim=-1)


def _bits(code: UInt8[Tensor, "*text byte"]) -> UInt8[Tensor, "*text bit"]:
    """Every bit of the codes as 0 or 1, including padding."""
    bits = code.unsqueeze(-1)
    return ((bits >> _shifts(bits)) & 1).flatten(-2)


def _shifts(like: Tensor) -> UInt8[Tensor, "8"]:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=like.device)


def _check(code: UInt8[Tensor, "*text byte"], neurons: int, at_least: int = 0) -> None:
    size = code.shape[-1]
    if neurons < at_least or -(-neurons // 8) != size:
        possible = f"{8 * size - 7} to {8 * size}" if size else "0"
        raise BadFeatures(
            f"codes of {size} bytes hold {possible} neurons, not {neurons}; pass the gate's rows"
        )
