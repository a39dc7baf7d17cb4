"""Everything about one text, or two, in one record: what ``splinelens inspect`` draws.

One pass a text; the record holds numbers only and outlives the model.
"""

from collections.abc import Sequence
from os import PathLike

import numpy as np

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadFeatures
from splinelens.features.reference import Reference, shipped
from splinelens.features.slicing import slice_tokens
from splinelens.features.token_report import report_tokens, text_distances
from splinelens.features.validation import check_layers, check_positive, check_text
from splinelens.geometry.settings import check_eps
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.report.inspection import Inspection


def inspect(
    text: str,
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    versus: str | None = None,
    layers: Sequence[int] | None = None,
    prompt: str = "",
    max_tokens: int = 2048,
    eps: float = 0.1,
    prefixes: bool = False,
    slice_at: tuple[int, tuple[int, int, int]] | None = None,
    reference: Reference | str | PathLike[str] | None = None,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
) -> Inspection:
    """Read everything about a text, token by token and layer by layer.

    Args:
        text: The text, with one token at least.
        model: A loaded model, or the name, folder or file of one; only the blocks needed are loaded.
        versus: Another text to compare.
        layers: The layers to read, from 0; None reads all.
        prompt: Run before each text, never reported.
        max_tokens: Longer texts are refused.
        eps: Threshold of the intrinsic dimension, in (0, 1).
        prefixes: Also give the seven features of every prefix.
        slice_at: One of those layers, and the three tokens through which its slice goes; tokens of ``versus``
            are counted on after those of ``text``. By default the middle layer, and the first, middle and
            last token of ``text``; with ``versus`` the last tokens of both and the middle one of ``text``.
        reference: What percentiles are taken from, or its folder; by default the shipped one of the
            very same model, if there is one.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights; None takes ``float32``.
        trust_remote_code: Run Python files that come with the model. Only for authors you trust.

    Returns:
        One record; what is not available is None, or -1 in an array of whole numbers (null in JSON), and a
        note says why.

    Raises:
        BadTexts: A text is no string, has no token, more than ``max_tokens``, or more than the model has
            positions.
        BadFeatures: Layers or tokens that do not exist, ``eps`` outside (0, 1), activations that are
            not finite, three tokens that span no plane, or a broken reference.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded one.

    Example:
        >>> import splinelens
        >>> inspection = splinelens.inspect("Good morning.", layers=[0])  # doctest: +SKIP
        >>> inspection.texts[0].sign.shape  # layer, token  # doctest: +SKIP
        (1, 3)
    """
    texts = {"the text": text} if versus is None else {"the text": text, "the other text": versus}
    for name, each in texts.items():
        check_text(each, name)
    eps, requested, max_tokens = (
        check_eps(eps),
        check_layers(layers),
        check_positive(max_tokens, "max_tokens"),
    )
    if requested is not None:
        _slice_layer(requested, slice_at)
    if isinstance(reference, str | PathLike):
        reference = Reference.load(reference)
    loaded = load_up_to(
        model,
        requested,
        revision=revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    anatomy = anatomy_of(loaded.model)
    chosen = tuple(range(anatomy.depth)) if requested is None else requested
    slice_layer = _slice_layer(chosen, slice_at)
    reports = [
        report_tokens(
            each,
            loaded,
            chosen,
            prompt=prompt,
            eps=eps,
            max_tokens=max_tokens,
            keep_inputs=[slice_layer],
            name=name,
        )
        for name, each in texts.items()
    ]
    view, drawn = slice_tokens(anatomy, reports, slice_layer, slice_at and slice_at[1])
    used, missing = _fitting_reference(loaded, reference, prompt)
    far = [used.far(each.tokens, name) for name, each in zip(texts, reports, strict=True)] if used else []
    return Inspection(
        model=loaded.name,
        layers=chosen,
        heads=reports[0].dimension.shape[2],
        neurons=max(anatomy.neurons(layer) for layer in chosen),
        eps=eps,
        texts=tuple(reports),
        percentiles=None
        if used is None
        else tuple(used.percentiles(report.seven, report.tokens, report.layers) for report in reports),
        prefixes=tuple(report.prefixes for report in reports) if prefixes else None,
        slice=view,
        text_distance=None if versus is None else text_distances(loaded, *reports),
        reference=None if used is None else tuple(used.description(report.tokens) for report in reports),
        notes=(*_notes(anatomy, chosen), *drawn, *missing, *filter(None, far)),
        self_distance=None
        if versus is None
        else np.stack([text_distances(loaded, report, report) for report in reports]),
    )


def _slice_layer(chosen: tuple[int, ...], slice_at: tuple[int, tuple[int, int, int]] | None) -> int:
    if slice_at is None:
        return chosen[len(chosen) // 2]
    layer, tokens = slice_at
    if layer not in chosen:
        readable = f"{chosen[0]} to {chosen[-1]}" if len(chosen) > 8 else ", ".join(map(str, chosen))
        raise BadFeatures(f"no slice at layer {layer}: the layers that are read are {readable}")
    if len(tokens) != 3:
        raise BadFeatures(f"a slice goes through three tokens, not through {len(tokens)}; name three")
    return layer


def _notes(anatomy: Anatomy, layers: tuple[int, ...]) -> list[str]:
    """What this architecture cannot give, or gives in another sense."""
    notes, name = [], type(anatomy.base).__name__
    unread = [layer for layer in layers if anatomy.attention(layer) is None]
    if unread:
        reason = anatomy.no_attention(unread[0])
        notes.append(f"{_listed(unread)}: no intrinsic dimension, since {reason}")
    if anatomy.softmax == "weights" and len(unread) < len(layers):
        notes.append(
            f"{name} hands over no scores: intrinsic dimensions are counted on its attention weights"
        )
    experts = [layer for layer in layers if anatomy.experts(layer) is not None]
    if experts:
        notes.append(
            f"{_listed(experts)}: signs, walls and regions are those of the experts that a token is routed to"
        )
    return notes


def _listed(layers: list[int]) -> str:
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def _fitting_reference(
    loaded: LoadedModel, reference: Reference | None, prompt: str
) -> tuple[Reference | None, list[str]]:
    """The reference if it is of this very model; else a note that says why there is none."""
    reference = reference or shipped(loaded)
    if prompt:
        reason: str | None = "references are made without a prompt, and this text was read with one"
    elif reference is None:
        reason = (
            f"no reference comes with splinelens for this model ({loaded.name}); make one with "
            "benchmarks/reference.py"
        )
    else:
        reason = reference.fits(loaded)
    return (reference, []) if reason is None else (None, [f"no percentiles: {reason}"])
