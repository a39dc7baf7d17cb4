"""Records of an index of functions: similar functions and clusters, with their reason."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from splinelens.texts.code import Language
from splinelens.texts.plain_text import readable

REASONS = {
    "words": "similar characters",
    "terms": "similar words",
    "structure": "same structure",
    "code": "near in the encoder",
    "summary": "similar summaries",
    "geometry": "near in the model's geometry",
}
"""What each view says when it contributes most."""


@dataclass(frozen=True)
class IndexedFunction:
    """A function of an index, and where it is.

    Attributes:
        path: File, below the folder of the index.
        name: With the classes around it.
        language: What it is written in.
        line: First line, from 1.
        last_line: Last line.
        text: Its source.
        summary: What a model says that it does; empty without summaries.
    """

    path: str
    name: str
    language: Language
    line: int
    last_line: int
    text: str
    summary: str = ""

    @property
    def location(self) -> str:
        """``path:line name``."""
        return f"{self.path}:{self.line} {self.name}"

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values, without the source."""
        return {key: value for key, value in asdict(self).items() if key != "text"}


@dataclass(frozen=True)
class Match:
    """A function that is similar to another.

    Attributes:
        function: The function.
        rank_score: What ranks: the score less half of how near the function is to all others of the index.
        score: Weighted mean of the cosines of all views; 1 for equal functions.
        cosines: The cosine in each view.
        reason: ``structure`` if that is the same, else the view that contributes most: a key of ``REASONS``.
        shared: Rare words that both have, without keywords of the language, rarest first.
    """

    function: IndexedFunction
    rank_score: float
    score: float
    cosines: dict[str, float]
    reason: str
    shared: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values, without the source of the function."""
        return self.function.to_dict() | {
            "rank_score": round(self.rank_score, 4),
            "score": round(self.score, 4),
            "cosines": {name: round(value, 4) for name, value in self.cosines.items()},
            "reason": self.reason,
            "shared": list(self.shared),
        }


@dataclass(frozen=True)
class Cluster:
    """Functions that resemble one another.

    Attributes:
        functions: Its functions.
        score: Mean score of their pairs.
        reason: As in ``Match``, over all pairs.
        shared: Rare words that all have.
    """

    functions: tuple[IndexedFunction, ...]
    score: float
    reason: str
    shared: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values, without the sources of the functions."""
        return {
            "score": round(self.score, 4),
            "reason": self.reason,
            "shared": list(self.shared),
            "functions": [function.to_dict() for function in self.functions],
        }


def match_lines(name: str, matches: Sequence[Match]) -> list[str]:
    """A function and those that are similar to it, a line each: what ranks, the score, place and reason."""
    lines = [readable(name)]
    for match in matches:
        reason = reason_words(match.reason, match.shared)
        place = readable(match.function.location)
        lines.append(f"  {match.rank_score:5.2f}  score {match.score:.2f}  {place}  {reason}")
    return lines


def cluster_lines(clusters: Sequence[Cluster]) -> list[str]:
    """Clusters, a line for each and for each of their functions."""
    lines = list[str]()
    for cluster in clusters:
        lines.append(
            f"{cluster.score:.2f}  {len(cluster.functions)} functions  "
            f"{reason_words(cluster.reason, cluster.shared)}"
        )
        lines += [f"      {readable(function.location)}" for function in cluster.functions]
    return lines


def reason_words(reason: str, shared: Sequence[str]) -> str:
    """A reason in words.

    Example:
        >>> reason_words("words", ("median", "sorted"))
        'shared words: median, sorted'
    """
    lexical = reason in ("words", "terms") and shared
    return f"shared words: {', '.join(shared)}" if lexical else REASONS[reason]
