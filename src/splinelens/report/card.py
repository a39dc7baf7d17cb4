"""The model card of a detector: what it is, what it was fitted on, what was measured, and its limits."""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from splinelens.detect.artifact import Artifact
from splinelens.report.tables import (
    MEASURED_HEAD,
    NUMBER_HEAD,
    PROMISE_HEAD,
    confusion_rows,
    markdown_table,
    mean_rows,
    measured_rows,
    number_rows,
    one_line,
    promise_rows,
    whole_label_rows,
)


def card(artifact: Artifact) -> str:
    """Describe a detector in Markdown: its numbers are those of the evaluations that it holds.

    Args:
        artifact: The detector. Its ``training["command"]`` is the command that makes it again; of one that
            was trained from Python and has none the card writes one, with names of columns left open.

    Returns:
        The card, which ends in a line break.
    """
    name, model, spec = artifact.name, artifact.model, artifact.spec
    sections = [
        f"# {one_line(name)}",
        _about(artifact),
        _model(model, spec, artifact),
        "## Data\n\n" + _data(artifact.training),
        "## Measured\n\n" + _measured(artifact),
        "## Thresholds\n\n" + _thresholds(artifact),
        "## Languages\n\n" + languages(artifact),
        "## Limits\n\n" + _limits(artifact),
        "## Make it again\n\n" + _code_block(artifact.training.get("command") or _command(artifact)),
    ]
    return "\n\n".join(sections) + "\n"


def languages(artifact: Artifact) -> str:
    """What it is measured on, and what to do with texts in any other language.

    Args:
        artifact: The detector.

    Returns:
        One line.
    """
    known = [one_line(str(language)) for language in artifact.training.get("languages", ())]
    if not known:
        return (
            "No language was named when it was made, so none counts as measured: do not act on its scores "
            "before `splinelens evaluate` on labelled texts of yours."
        )
    return (
        f"Measured on {', '.join(known)} only. Texts in any other language get a score too, but nobody has "
        "measured what it is worth: do not act on it before `splinelens evaluate` on labelled texts in that "
        "language."
    )


def layer_ranges(layers: Iterable[int]) -> str:
    """Layers as ``--layers`` takes them.

    Example:
        >>> layer_ranges([0, 1, 2, 5])
        '0-2,5'
    """
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _about(artifact: Artifact) -> str:
    place = f"by where they fall among the regions of `{_code(artifact.model['name'])}`"
    unread = "and says `undetermined` where it could not read a text"
    words = [f"`{_code(label)}`" for label in artifact.labels]
    negative = f"`{_code(artifact.negative)}`"
    if artifact.task == "binary":
        told = f"Tells {words[0]} texts from {negative} ones {place}, {unread}."
        return told + " The score is a calibrated probability."
    each = "Each label has a calibrated probability of its own, against all others"
    if artifact.task == "classes":
        return (
            f"Puts texts into one of {len(words)} classes, {', '.join(words)}, {place}, {unread}. {each}; "
            "they do not sum to 1, and the class with the highest is the verdict."
        )
    return (
        f"Finds {len(words)} labels in texts, {', '.join(words)}, {place}, {unread}. A text may have any "
        f"number of them; without any it is {negative}. {each}."
    )


def _model(
    model: Mapping[str, Any], spec: Mapping[str, Any], artifact: Artifact
) -> str:  # Any: the manifest's JSON
    fingerprint = model["fingerprint"]
    rows = {
        "model": model["name"] + (f", revision {model['revision']}" if model.get("revision") else ""),
        "architecture": f"{fingerprint['architecture']}, the first {fingerprint['depth']} blocks are run",
        "weights": f"{fingerprint['dtype']}, fingerprint {fingerprint['weights']}",
        "features": f"{', '.join(spec['features'])} (catalogue {spec['version']})",
        "pooling": ", ".join(spec["pooling"]),
        "layers": layer_ranges(spec["layers"] or ()),
        "numbers a text": f"{sum(size for _, size in artifact.columns):,}",
        "prompt before the text": _quoted(spec["prompt"]),
        "prompt behind the text": _quoted(spec["suffix"]),
        "window": f"{spec['max_tokens']} tokens; longer texts at training: {spec['long']}",
        **({"disguised characters": "read as plain ones"} if spec.get("normalize") else {}),
        "head": artifact.head.kind,
        "made with": f"splinelens {artifact.version}",
    }
    return "## Model\n\n" + markdown_table(("what", "value"), rows.items())


def _data(training: Mapping[str, Any]) -> str:  # Any: as above
    if not training:
        return "Not recorded."
    judged = training.get("judged_rows", training["rows"])
    rows = {
        "rows": f"{training['rows']:,}, {_positives(training['positives'])}",
        "left out, not readable": f"{training['left_out']:,}",
        "rows that judge": "all"
        if judged == training["rows"]
        else f"{judged:,}; the others only help to fit",
        "sources": "; ".join(training["sources"]) or "not named",
        "repeated texts": _repeated(training.get("repeated")),
        "hash of the texts": training.get("provenance", {}).get("data_hash", "not recorded"),
        "recipe": training["recipe"] + "".join(f", {key} = {value}" for key, value in settings(training)),
        "seed": training["seed"],
    }
    return markdown_table(("what", "value"), rows.items())


def _measured(artifact: Artifact) -> str:
    if not artifact.metrics:
        return "Nothing was measured."
    parts = []
    for name, numbers in artifact.metrics.items():
        about = (
            "Out of fold: each row is judged by a head that did not see it."
            if name == "out_of_fold"
            else f"On {one_line(name)}, whose rows took no part in fitting."
        )
        positives = f", {numbers['positives']:,} of them positive" if "positives" in numbers else ""
        about += (
            f" {numbers['n']:,} rows{positives}. Length alone is what counting tokens would have reached."
        )
        parts += [about, *(_of_labels(numbers) if "labels" in numbers else [_numbers(numbers)])]
        own = numbers.get("labels", {artifact.labels[0]: numbers})
        if rows := [row for label, found in own.items() for row in measured_rows(label, found)]:
            parts += ["The stored thresholds on these rows:", markdown_table(MEASURED_HEAD, rows)]
    return "\n\n".join(parts)


def _numbers(numbers: Mapping[str, Any]) -> str:  # Any: as above
    return markdown_table(NUMBER_HEAD, number_rows(numbers))


def _of_labels(numbers: Mapping[str, Any]) -> list[str]:  # Any: as above
    """The numbers of several labels, each with its 95 % interval, and of classes what is taken for what."""
    head, *rows = whole_label_rows(numbers["labels"])
    parts = [
        "Each label against all others, in brackets 95 % intervals:",
        markdown_table(head, rows),
        markdown_table(NUMBER_HEAD, mean_rows(numbers)),
    ]
    if "confusion" in numbers:
        head, *rows = confusion_rows(list(numbers["labels"]), numbers["confusion"])
        parts += ["Rows by their own class, columns by the verdict:", markdown_table(head, rows)]
    return parts


def _thresholds(artifact: Artifact) -> str:
    one, several = artifact.task == "binary", artifact.task == "classes"
    pairs = zip(artifact.labels, artifact.thresholds, strict=True)
    rows = [row for label, own in pairs for row in promise_rows(label, own)]
    about = (
        f"A text is `{_code(artifact.labels[0])}` if its score is" if one else "A label fires if its score is"
    )
    about = "The verdict does not use them; a class is seldom wrong if its score is" if several else about
    return (
        f"{about} at or above the threshold; they were chosen on the same out-of-fold scores.\n\n"
        + markdown_table(PROMISE_HEAD, rows)
    )


def _limits(artifact: Artifact) -> str:
    labels = f"`{_code(artifact.labels[0])}`" if artifact.task == "binary" else "each label's"
    lines = [
        "On texts of another kind, language or time than its data it is worse, and promised false-positive "
        "rates do not hold: measure it on yours with `splinelens evaluate`.",
        f"Scores are probabilities for a share of {labels} texts as in its data; where they are rarer, the "
        "same score means less.",
        "It repeats what its labels hold, their mistakes and prejudices included. Look at harmless texts "
        "that name groups of people, quote others, or use strong words in friendship.",
        "The words that fired say what moved the score, not what the text means, and not why it was written.",
        "It works with the model of the fingerprint above only; with any other it refuses to load.",
        *artifact.training.get("limits", ()),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _command(artifact: Artifact) -> str:
    spec, training = artifact.spec, artifact.training
    words: list[str] = ["splinelens", "train", "FILE", "--column", "TEXT"]
    columns = artifact.labels if artifact.task == "labels" else ("LABEL",)
    words += [word for column in columns for word in ("--label", column)]
    options: dict[str, str] = {
        "--model": artifact.model["name"],
        "--features": ",".join(spec["features"]),
        "--pooling": ",".join(spec["pooling"]),
        "--layers": layer_ranges(spec["layers"] or ()),
        "--prompt": escaped(spec["prompt"]),
        "--max-tokens": str(spec["max_tokens"]),
        "--long": spec["long"],
        "--recipe": training.get("recipe", ""),
        "--seed": str(training.get("seed", "")),
        "--name": artifact.name,
        "--label-name": artifact.labels[0] if artifact.task == "binary" else "",
        "--negative-name": artifact.negative,
    }
    words += [word for language in training.get("languages", ()) for word in ("--language", language)]
    words += [word for pair in options.items() if pair[1] for word in pair]
    words += ["--normalize"] if spec.get("normalize") else []
    return shlex.join([*words, "-o", "DIR"])


def escaped(prompt: str) -> str:
    r"""A prompt as ``--prompt`` takes it, with line breaks and tabs written as ``\n`` and ``\t``.

    Example:
        >>> escaped("Comment:\n")
        'Comment:\\n'
    """
    return prompt.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def settings(training: Mapping[str, Any]) -> list[tuple[str, Any]]:  # Any: the manifest's JSON
    """What was chosen for the head, as words.

    Args:
        training: Of the artifact.

    Returns:
        Names and values; of several labels, or statistics with a prior, all their values in one.

    Example:
        >>> settings({"settings": {"C": {"rude": 0.01, "spam": 0.1}, "validation_auc": {}}})
        [('C', '0.01 (rude), 0.1 (spam)')]
    """
    found = []
    for key, value in training.get("settings", {}).items():
        if key != "validation_auc":
            several = isinstance(value, dict)
            found.append(
                (key, ", ".join(f"{own} ({label})" for label, own in value.items()) if several else value)
            )
    return found


def _positives(positives: int | Mapping[str, int]) -> str:
    if isinstance(positives, int):
        return f"{positives:,} of them positive"
    return "of them " + ", ".join(f"{count:,} {label}" for label, count in positives.items())


def _repeated(found: Mapping[str, int] | None) -> str:
    if found is None:
        return "not counted"
    return f"{found['texts']:,}, {found['contradicting']:,} of them with labels that contradict each other"


def _code(text: str) -> str:
    return one_line(text).replace("`", "'")


def _quoted(prompt: str) -> str:
    return json.dumps(prompt, ensure_ascii=False) if prompt else "none"


def _code_block(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())
