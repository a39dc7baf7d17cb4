"""The record of one text that was compared with ordinary traffic, and what a range was measured to flag."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from splinelens.report.tables import Table, count_of, percent, shorten
from splinelens.report.terminal import table_lines
from splinelens.texts.columns import refuse_names
from splinelens.texts.plain_text import harmless
from splinelens.texts.table import json_value

_LINE_CHARACTERS = 40
_NAME_CHARACTERS = 28


@dataclass(frozen=True)
class NoveltyScore:
    """The result of one text.

    Attributes:
        row: Position of the text in the input, from 0.
        p_value: Share of ordinary texts that are at least as far from the range; None if it was not read.
        verdict: ``flagged`` if the p-value is at most the false-alarm rate, else ``usual``; ``undetermined``
            where there is no p-value.
        tokens: Tokens of the text.
        reason: Why the verdict is ``undetermined``, else None.
        farthest: The numbers farthest from those of ordinary texts of that length, in standard deviations.
        contrast_p_value: Of the other class's logit, if the range was fitted with another class.
        contrast_verdict: As ``verdict``, by ``contrast_p_value``.
    """

    row: int
    p_value: float | None
    verdict: str
    tokens: int
    reason: str | None = None
    farthest: Mapping[str, float] = field(default_factory=dict)
    contrast_p_value: float | None = None
    contrast_verdict: str | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """As JSON values; what does not exist is left out, except ``p_value``.

        Example:
            >>> NoveltyScore(0, None, "undetermined", 0, "is empty").to_dict()
            {'row': 0, 'p_value': None, 'verdict': 'undetermined', 'tokens': 0, 'reason': 'is empty'}
        """
        values = asdict(self)
        return {key: value for key, value in values.items() if key == "p_value" or value not in (None, {})}

    def to_json(self, kept: Mapping[str, Any] | None = None) -> str:  # Any: a cell is what the file held
        """One line of JSON, with cells of the user's columns after ``row``.

        Example:
            >>> NoveltyScore(0, 0.5, "usual", 9).to_json({"id": "007"})
            '{"row": 0, "id": "007", "p_value": 0.5, "verdict": "usual", "tokens": 9}'
        """
        cells = {name: json_value(cell) for name, cell in (kept or {}).items()}
        line = json.dumps({"row": self.row, **cells, **self.to_dict()}, ensure_ascii=False)
        return line.encode("utf-8", "backslashreplace").decode()  # a lone surrogate as its JSON escape


def check_kept(names: Iterable[str]) -> None:
    """Refuse columns of the user that have the name of one of ours.

    Raises:
        BadTexts: The message names the column.
    """
    refuse_names((name for name in names if name in NoveltyScore.__dataclass_fields__), "records of a range")


def novelty_line(record: NoveltyScore, text: str | None) -> str:
    """One line for a terminal: p-value, verdict, the beginning of the text, the number farthest out.

    Example:
        >>> far = {"layer29.sign_max": 6.14, "layer02.sign_mean": -2.0}
        >>> novelty_line(NoveltyScore(0, 0.004, "flagged", 9, farthest=far), "An odd one")
        '0.0040  flagged       An odd one  [layer29.sign_max +6.1]'
    """
    shown = shorten(" ".join(harmless(text or "").split()), _LINE_CHARACTERS)
    if record.reason:
        detail = f"text {record.reason}"
    else:
        detail = ", ".join(f"{name} {value:+.1f}" for name, value in [*record.farthest.items()][:1])
    judged = f"{_p_value(record.p_value)}  {record.verdict:12}"
    if record.contrast_verdict:
        judged += f"  {_p_value(record.contrast_p_value)}  {record.contrast_verdict:12}"
    return f"{judged}  {shown}  [{detail}]"


def alarm_table(report: Mapping[str, Any]) -> Table:  # Any: plain JSON values, as fit_novelty measures them
    """What share of each set of texts is flagged, with 95 % intervals (Clopper-Pearson).

    Example:
        >>> held = {"name": "held-out traffic", "texts": 300, "flagged": [3, 0.0021, 0.0289]}
        >>> alarm_table({"alarms": [held]}).rows
        [('held-out traffic', '300', '1.0 (0.2 to 2.9)')]
    """
    forms = {"flagged": "flagged, %", "contrast_flagged": "contrastive, %"}
    present = [form for form in forms if form in report["alarms"][0]]
    rows = [
        (
            shorten(harmless(one["name"]), _NAME_CHARACTERS),
            f"{one['texts']:,}",
            *(_share(one["texts"], *one[form]) for form in present),
        )
        for one in report["alarms"]
    ]
    return Table(("texts", "read", *(forms[form] for form in present)), rows)


def report_lines(traffic: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:  # Any: as above
    """The report of a fitted range, for a terminal."""
    names = {one["name"] for one in report["alarms"]}
    shortest, longest = traffic["lengths"]
    lines = [
        f"Ordinary traffic: {count_of(traffic['texts'], 'text')} of {shortest:,} to {longest:,} tokens.",
        f"Fitted on {traffic['fitted']:,}, compares with {traffic['compared']:,} others in "
        f"{count_of(len(traffic['length_bins']) + 1, 'length bin')}. "
        f"False-alarm rate: {percent(report['rate'])}.",
        "",
        *table_lines(alarm_table(report)),
        "",
    ]
    if unread := report["undetermined"]:
        lines.append(f"Not read, and in no row above: {count_of(unread, 'text')}.")
    lines.append("In brackets: 95 % intervals (Clopper-Pearson).")
    lines.append("Flagged is unusual for this traffic, and does not mean harmful.")
    if any(name.startswith("novel") for name in names):
        lines.append("The rows 'novel' are harmless texts of other kinds: their alarms are false.")
    else:
        lines.append("How often harmless texts of another kind are flagged is not known: give --novel.")
    if "other" not in names:
        lines.append("The contrastive form looks for a class that you name: give examples with --other.")
    return lines


def _share(texts: int, flagged: int, low: float, high: float) -> str:
    return f"{100 * flagged / texts:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _p_value(value: float | None) -> str:
    return "     -" if value is None else f"{value:.4f}"
