"""Count the texts that a detector was fitted on, as far as it recorded them."""

import logging

from splinelens.detect.artifact import Artifact
from splinelens.errors import BadTexts
from splinelens.texts import Texts
from splinelens.texts.plain_text import harmless

_log = logging.getLogger(__name__)


def count_seen(artifact: Artifact, texts: Texts, *, refusal: str | None) -> int | None:
    """Count texts that the detector was fitted on; None if it does not record its training texts.

    A warning is logged if there are any, or if not all training texts are recorded.

    Args:
        artifact: The detector.
        texts: The texts.
        refusal: Why such texts are refused and what to do, in the error; None allows them.

    Raises:
        BadTexts: There are some, and they are not allowed.
    """
    if not len(artifact.seen):
        _log.warning(
            "detector %s does not record its training texts; rows among them are not known",
            harmless(artifact.name),
        )
        return None
    rows = int(artifact.seen_in(texts.texts).sum())
    recorded = artifact.training.get("seen", {"texts": 0, "kept": 0})
    some = recorded["kept"] < recorded["texts"]
    line = f"{rows:,} of {len(texts):,} rows were in the training data of detector {artifact.name}"
    if some:
        line = f"at least {line}, which records {recorded['kept']:,} of its {recorded['texts']:,} texts"
    if rows and refusal is not None:
        raise BadTexts(f"{texts.source}: {line}, {refusal}")
    if rows or some:
        _log.warning(harmless(line))
    return rows
