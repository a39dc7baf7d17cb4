"""The sections of an evaluation's page: numbers, the slider, tables with bars, and the errors.

A script draws the figures into their places. All words of a stranger are escaped on their way in, and the
texts of errors lie in closed elements that a reader must open.
"""

from collections.abc import Sequence
from html import escape

import numpy as np

from splinelens.report.evaluation import (
    BIAS_HEAD,
    EVASION_HEAD,
    THRESHOLD_HEAD,
    EvaluationReport,
    bias_rows,
    evasion_rows,
    share_rows,
    summary,
    threshold_rows,
)
from splinelens.report.evaluation_figures import heat_scale
from splinelens.report.evaluation_parts import Mistake, Share
from splinelens.report.inspection import readable
from splinelens.report.inspection_scales import TEXTS
from splinelens.report.plots import figure_place, panel, scale_bar
from splinelens.report.tables import NUMBER_HEAD, percent
from splinelens.report.terminal import strongest_words

_FAINT, _STRONG = 0.1, 2.0  # words below add too little to colour; at and above have the full colour
_ASKED = {
    "recall": "of {label} texts are flagged (recall)",
    "rate": "of {negative} texts are flagged (false-positive rate)",
    "precision": "of flagged texts are {label} (precision)",
    "alarms": "false positives in 10,000 texts",
    "missed": "{label} texts missed in 10,000 texts",
}


def sections(report: EvaluationReport) -> dict[str, tuple[str, str]]:
    """The title and the HTML of each section by name, in their order on the page.

    Args:
        report: The record.

    Returns:
        ``numbers``, ``thresholds``, ``curves``, ``layers``, ``map``, ``hatecheck``, ``xstest``, ``groups``,
        ``evasion``, ``errors`` and ``notes``; what the record does not hold is left out.
    """
    parts = {
        "numbers": ("Numbers", _numbers(report)),
        "thresholds": ("Choose a threshold", _thresholds(report)),
        "curves": ("Curves", _curves(report)),
        "layers": ("Layer by layer", _layers(report)),
        "map": ("The texts by their features", _map(report)),
        "hatecheck": ("HateCheck", _hatecheck(report)),
        "xstest": ("XSTest: false alarms", _xstest(report)),
        "groups": ("When groups are mentioned", _groups(report)),
        "evasion": ("Evasion", _evasion(report)),
        "errors": ("The worst errors", _errors(report)),
        "notes": ("Notes", _notes(report)),
    }
    return {name: part for name, part in parts.items() if part[1]}


def _numbers(report: EvaluationReport) -> str:
    return (
        "<p>On these rows; length alone is what counting tokens would have reached. Intervals are 95 % "
        "bootstrap intervals.</p>" + _table(NUMBER_HEAD, summary(report))
    )


def _thresholds(report: EvaluationReport) -> str:
    label, negative = escape(readable(report.label)), escape(readable(report.negative))
    points = report.sweep.threshold
    last = len(points) - 1
    begin = last - int(np.argmin(np.abs(np.array(points) - report.threshold)))
    stored = "".join(
        f'<button type="button" data-point="{int(np.argmin(np.abs(np.array(points) - point.threshold)))}">'
        f"{escape(readable(point.name))}</button>"
        for point in report.thresholds
    )
    outcomes = "".join(
        f'<div><output id="told-{name}">-</output>'
        f"<span>{words.format(label=label, negative=negative)}</span></div>"
        for name, words in _ASKED.items()
    )
    return (
        "<p>A text is flagged if its score is at or above the threshold. Rates are those of these rows; "
        f"the rest follows from them for the share of {label} texts that you expect.</p>"
        '<div class="controls"><label for="threshold">Threshold '
        '<output id="told-threshold">-</output></label>'
        f'<input type="range" id="threshold" min="0" max="{last}" value="{begin}">'
        f'<label for="prevalence">{label} texts, in % <input type="number" id="prevalence" min="0.01" '
        f'max="99.99" step="any" value="{100 * report.prevalence:g}"></label></div>'
        f'<div class="controls">{stored}</div>'
        f'<div class="outcomes" aria-live="polite">{outcomes}</div>'
        f"<h3>The stored thresholds, where {percent(report.prevalence)} of texts are {label}</h3>"
        + _table(THRESHOLD_HEAD, threshold_rows(report.thresholds))
    )


def _curves(report: EvaluationReport) -> str:
    panels = (
        ("roc", "ROC", "Recall against false positives; dotted is chance, the dot is the threshold above."),
        (
            "precision_recall",
            "Precision and recall",
            "On these rows, whose share of positive texts is the dotted line.",
        ),
        (
            "reliability",
            "Calibration",
            "Share of positive texts in bins of equal count; on the dotted line a score is a probability.",
        ),
    )
    return f'<div class="panels">{"".join(panel(name, title, words) for name, title, words in panels)}</div>'


def _layers(report: EvaluationReport) -> str:
    if report.heat is None:
        return "<p>This detector's logit does not split into layers, so there is no map of them.</p>"
    head = ("layer", *report.heat.rows)
    rows = [
        (str(layer), *("-" if cell is None else f"{cell:.4f}" for cell in cells))
        for layer, cells in zip(report.heat.layers, zip(*report.heat.auc, strict=True), strict=True)
    ]
    words = f"{report.heat.what}."
    return (
        f"<p>{escape(words)}</p>{scale_bar(heat_scale(report.heat), 'AUC')}"
        f"{figure_place('layers', words, 'Layers')}"
        f"<details><summary>In numbers</summary>{_table(head, rows)}</details>"
    )


def _map(report: EvaluationReport) -> str:
    if report.map is None:
        return ""
    keys = " &nbsp; ".join(
        f'<span class="key" style="background:{colour}"></span> {escape(readable(name))}'
        for name, colour in zip((report.negative, report.label), TEXTS, strict=True)
    )
    panels = [panel("pca", "Principal components", "The two directions in which the features differ most.")]
    if report.map.tsne:
        words = "Neighbours stay neighbours; distances between clusters mean nothing."
        panels.append(panel("tsne", "t-SNE", words))
    return (
        f"<p>{len(report.map.row):,} rows by the features that the detector reads, each standardised.</p>"
        f'<p>{keys}</p><div class="pair two">{"".join(panels)}</div>'
    )


def _hatecheck(report: EvaluationReport) -> str:
    if report.hatecheck is None:
        return ""
    right, total = (sum(getattr(share, name) for share in report.hatecheck) for name in ("count", "total"))
    groups = ""
    if report.hatecheck_bias:
        groups = (
            "<h3>By the group that cases aim at</h3>"
            + _bias_words()
            + _table(BIAS_HEAD, bias_rows(report.hatecheck_bias))
        )
    return (
        f"<p>{right:,} of {total:,} cases are right at the threshold {report.threshold:.4f}. Functionalities "
        "with the fewest right verdicts first.</p>"
        + _share_table(report.hatecheck, "right", worst_first=True)
        + groups
    )


def _xstest(report: EvaluationReport) -> str:
    if report.xstest is None:
        return ""
    safe = [share for share in report.xstest if share.wanted == "safe"]
    count, total = sum(share.count for share in safe), sum(share.total for share in safe)
    return (
        f"<p>{count:,} of {total:,} safe prompts are flagged at the threshold {report.threshold:.4f}: false "
        "alarms. Unsafe prompts ask for something harmful and need not be rude; their share is for "
        "comparison.</p>" + _share_table(report.xstest, "flagged")
    )


def _groups(report: EvaluationReport) -> str:
    if not report.bias:
        return ""
    return (
        f"<p>{escape(readable(report.bias_source))}.</p>"
        + _bias_words()
        + _table(BIAS_HEAD, bias_rows(report.bias))
    )


def _bias_words() -> str:
    return (
        "<p>Subgroup: among texts of the group. BPSN: negative texts of the group against positive ones of "
        "others; low means harmless mentions score too high. BNSP: positive texts of the group against "
        "negative ones of others; low means attacks on the group score too low. A dash: fewer than 10 rows "
        "of a class, or fewer than 50 rows for an interval.</p>"
    )


def _evasion(report: EvaluationReport) -> str:
    if report.evasion is None:
        return ""
    return (
        f"<p>The same rows as they are and in disguise, nothing else changed, at the threshold "
        f"{report.threshold:.4f}. Rows: {escape(readable(report.label))} + "
        f"{escape(readable(report.negative))}. Lost is recall; false positives show whether a disguise is "
        "flagged for itself.</p>" + _table(EVASION_HEAD, evasion_rows(report.evasion))
    )


def _errors(report: EvaluationReport) -> str:
    label, negative = escape(readable(report.label)), escape(readable(report.negative))
    parts = [
        '<p class="warning"><strong>Texts from the data: they may insult, threaten or disturb.</strong> Each '
        "one is hidden until you open it.</p>"
    ]
    if any(mistake.words for mistake in (*report.false_positives, *report.false_negatives)):
        parts.append(
            '<p><span class="word for" style="--strength:80%">red</span> words raise the score, '
            '<span class="word against" style="--strength:80%">blue</span> ones lower it.</p>'
        )
    kinds = (
        (f"Flagged, but {negative} by their label", report.false_positives),
        (f"Not flagged, but {label} by their label", report.false_negatives),
    )
    for title, mistakes in kinds:
        shown = "".join(_mistake(mistake) for mistake in mistakes) or "<p>None.</p>"
        parts.append(f"<div><h3>{title}</h3>{shown}</div>")
    return f'{"".join(parts[:-2])}<div class="pair two">{"".join(parts[-2:])}</div>'


def _mistake(mistake: Mistake) -> str:
    words = ", ".join(
        f"{escape(readable(word))} {amount:+.1f}"
        for word, amount in strongest_words(mistake.text, mistake.words)
    )
    strongest = f'<p class="quiet">strongest: {words}</p>' if words else ""
    if mistake.rest is not None:
        logit = mistake.rest + sum(word.contribution for word in mistake.words)
        strongest += f'<p class="quiet">all words and {mistake.rest:+.2f} for the rest: logit {logit:.2f}</p>'
    rest = mistake.characters - len(mistake.text)
    cut = f'<p class="quiet">{rest:,} more characters are not shown</p>' if rest else ""
    return (
        f'<details class="mistake"><summary>row {mistake.row:,} · score {mistake.score:.4f}</summary>'
        f'<p class="text" dir="auto">{_coloured(mistake)}</p>{strongest}{cut}</details>'
    )


def _coloured(mistake: Mistake) -> str:
    pieces, end = [], 0
    for word in mistake.words:
        amount = word.contribution
        if abs(amount) < _FAINT:
            continue
        strength = round(100 * min(1.0, abs(amount) / _STRONG))
        pieces.append(_shown(mistake.text[end : word.begin]))
        pieces.append(
            f'<span class="word {"for" if amount > 0 else "against"}" style="--strength:{strength}%" '
            f'title="{amount:+.2f}">{_shown(mistake.text[word.begin : word.end])}</span>'
        )
        end = word.end
    return "".join([*pieces, _shown(mistake.text[end:])])


def _shown(piece: str) -> str:
    """A piece of a stranger's text: line breaks as they are, whatever else is hidden as a sign."""
    return "\n".join(escape(readable(line)) if line else "" for line in piece.split("\n"))


def _notes(report: EvaluationReport) -> str:
    lines = "".join(f"<li>{escape(readable(note))}</li>" for note in report.notes)
    made = {
        "detector": report.provenance.get("detector"),
        "texts": report.provenance.get("data_hash"),
        "seed": report.provenance.get("seed"),
        "splinelens": report.provenance.get("splinelens"),
        "torch": report.provenance.get("torch"),
        "device": report.provenance.get("device"),
    }
    rows = [(name, str(value)) for name, value in made.items() if value is not None]
    return (f"<ul>{lines}</ul>" if lines else "") + _table(("made with", "value"), rows)


def _share_table(shares: Sequence[Share], counted: str, worst_first: bool = False) -> str:
    ordered = sorted(shares, key=lambda share: share.share) if worst_first else shares
    rows = []
    for share, (name, wanted, words, counts, interval) in zip(ordered, share_rows(ordered), strict=True):
        width = f"width:{100 * share.share:.1f}%"
        bar = f'<td class="bar" aria-hidden="true"><div><i style="{width}"></i></div></td>'
        cells = "".join(f"<td>{escape(readable(cell))}</td>" for cell in (words, counts, interval))
        named = f'<th scope="row">{escape(readable(name))}</th><td>{escape(readable(wanted))}</td>'
        rows.append(f"<tr>{named}{bar}{cells}</tr>")
    names = ("kind", "wanted", "", counted, "texts", "95 % interval")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return _framed(head, "".join(rows))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first cell of each row names it; it scrolls sideways where it is too wide."""
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(readable(row[0]))}</th>'
        + "".join(f"<td>{escape(readable(cell)) if cell else ''}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return _framed(titles, lines)


def _framed(head: str, rows: str) -> str:
    return (
        '<div class="table" tabindex="0" role="group" aria-label="Table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
