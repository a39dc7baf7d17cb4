"""What code_check.py writes for readers: its page, the blocks of docs/code.md, and the card of the shipped head."""

from pathlib import Path

from code_sets import FOLDERS

DOCS = Path(__file__).parents[1] / "docs/code.md"
SETS = {"codereval": "CoderEval", "humaneval": "HumanEval"}
FITS = {
    "both": "fitted to both sets",
    "set": "fitted to this set",
    "set, tasks": "fitted to this set, folds of tasks",
    "read": "with the model, fitted to this set",
}
FITTED, RIVAL, SHIPPED = "findings, fitted", "static + TF-IDF", "static + counts"
ERRORS = {
    "name and syntax": ("NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "TabError"),
    "attribute, import and type": ("AttributeError", "ImportError", "ModuleNotFoundError", "TypeError"),
}
QUOTED = {
    "both": ("length", "TF-IDF", FITTED, RIVAL, SHIPPED, "static + TF-IDF, with consensus"),
    "read": (
        FITTED, RIVAL, SHIPPED, "static + margins", "static + geometry", "static + likelihood",
        "static + geometry + likelihood", "static + counts + likelihood",
    ),
}  # fmt: skip
"""The scores that docs/code.md quotes, by fit."""


def markdown(record):
    """The page benchmarks/code_check.md."""
    lines = [
        "# Is generated code wrong?",
        "",
        "`python benchmarks/code_check.py extract|static|measure|ship|critic|report --data DIR --work WORK`: features of "
        "`smollm2-135m` in bfloat16, the first 256 tokens of each body after its signature and docstring. AUC within a task of "
        "wrong against passing samples; 95 % intervals by bootstrap over tasks. Folds keep the projects of CoderEval and the tasks of "
        "HumanEval whole; strengths are chosen inside the training folds.",
        "",
        "| set | samples | models | tasks | with both outcomes | pass |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in record["sets"].items():
        counts = f"{row['samples']:,} | {row['models']} | {row['tasks']} | {row['tasks with both outcomes']}"
        lines.append(f"| {SETS[name]} | {counts} | {row['passed']:.1%} |")
    lines += ["", "## Static findings", "", *finding_lines(record["static"]), ""]
    lines += rule_table(record["static"])
    for name in FOLDERS:
        for fit, title in FITS.items():
            if rows := [row for row in record["rows"] if (row["set"], row["fit"]) == (name, fit)]:
                lines += ["", f"## {SETS[name]}, {rows[0]['tasks']} tasks, {title}", "", *auc_table(rows)]
    for name, measured in record["reliability"].items():
        lines += ["", f"## {SETS[name]}: how often a stated probability is right", ""]
        lines += reliability_lines(measured)
    if critic := record.get("critic"):
        lines += ["", "## The critic in the loop", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in critic.items()]
    return "\n".join(lines) + "\n"


def finding_lines(static):
    """How often a verdict is right, and which errors were found before the code was run."""
    lines = [
        "| set | flagged | flagged that pass | others that pass | AUC of the verdict within a task |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in static.items():
        shares = " | ".join(f"{row[key]:.1%}" for key in ("flagged", "flagged that pass", "others that pass"))
        lines.append(f"| {SETS[name]} | {shares} | {ranged(row['auc'], row['interval'])} |")
    of = static["humaneval"]
    shares = [f"{kind} {of[f'{kind} errors found']:.1%} of {of[f'{kind} errors']}" for kind in ERRORS]
    return [*lines, "", f"HumanEval, errors when run that were found before: {'; '.join(shares)}."]


def rule_table(static):
    """A row a rule: how often it is found, and how many of these samples pass."""
    lines = [
        "| finding | CoderEval | of these pass | HumanEval | of these pass |",
        "| --- | --- | --- | --- | --- |",
    ]
    sets = [static[name]["rules"] for name in FOLDERS]
    for rule in sorted({*sets[0], *sets[1]}):
        cells = [
            f"{rules[rule]['samples']:,} | {rules[rule]['pass']:.1%}" if rule in rules else "0 | "
            for rules in sets
        ]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return lines


def auc_table(rows):
    """A row a score."""
    lines = [f"| score | AUC within a task | gain over {RIVAL} |", "| --- | --- | --- |"]
    return lines + [f"| {row['score']} | {auc_cells(row)} |" for row in rows]


def auc_cells(row):
    """The AUC of a row and its gain, with their intervals."""
    return f"{ranged(row['auc'], row['interval'])} | {ranged(row['gain'], row['gain_interval'], '+.3f')}"


def reliability_lines(measured):
    """How far predicted probabilities are from what happened, and a row for each tenth of them."""
    lines = [
        f"`{SHIPPED}`, fitted to both sets, out of fold. Calibration error {measured['calibration error']:.3f}, Brier score "
        f"{measured['brier']:.3f} ({measured['brier of the share']:.3f} for the share of wrong samples), AUC of all rows "
        f"{measured['auc of all rows']:.3f}.",
        "",
        "| samples | predicted | wrong |",
        "| --- | --- | --- |",
    ]
    for row in measured["bins"]:
        wrong = ranged(row["wrong"], row["interval"])
        lines.append(f"| {row['samples']:,} | {row['predicted']:.3f} | {wrong} |")
    return lines


def ranged(value, interval, form=".3f"):
    """A number with its interval."""
    return f"{value:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"


def docs_blocks(record):
    """What docs/code.md quotes, by the name of its block."""
    blocks = {"findings": finding_lines(record["static"]), "scores": [], "model": []}
    for block, fit in (("scores", "both"), ("model", "read")):
        for name in FOLDERS:
            quoted = [row for row in record["rows"] if (row["set"], row["fit"]) == (name, fit)]
            quoted = [row for score in QUOTED[fit] for row in quoted if row["score"] == score]
            if quoted:
                heading = f"#### {SETS[name]}, {quoted[0]['tasks']} tasks, {FITS[fit]}"
                blocks[block] += [heading, "", *auc_table(quoted), "", sides(quoted), ""]
    blocks["reliability"] = [
        "| set | calibration error | Brier score | Brier score of the share | AUC of all samples |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, measured in record["reliability"].items():
        keys = ("calibration error", "brier", "brier of the share", "auc of all rows")
        numbers = " | ".join(f"{measured[key]:.3f}" for key in keys)
        blocks["reliability"].append(f"| {SETS[name]} | {numbers} |")
    return {name: "\n".join(lines).strip() for name, lines in blocks.items()}


def sides(rows):
    """Which scores are above the rival and which below, by the interval of their gain."""
    above = [row["score"] for row in rows if row["gain_interval"][0] > 0]
    below = [row["score"] for row in rows if row["gain_interval"][1] < 0]
    neither = [row["score"] for row in rows if row["score"] not in (*above, *below, RIVAL)]
    named = {f"Above {RIVAL}, by the interval of the gain": above, "Below": below, "Not told apart": neither}
    return " ".join(f"{side}: {'; '.join(scores) or 'none'}." for side, scores in named.items())


def filled(page, blocks):
    """The page with each block between its marks replaced."""
    for name, text in blocks.items():
        begin, end = marks(name)
        before, _, rest = page.partition(begin)
        _, closing, after = rest.partition(end)
        if not closing:
            raise SystemExit(f"docs/code.md has no place for {name}: {begin} ... {end}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def marks(name):
    """Where a block of docs/code.md begins and ends."""
    return f"<!-- {name}: written by benchmarks/code_check.py -->", f"<!-- end of {name} -->"


def card(record):
    """The card of the shipped head."""
    lines = [
        "# How likely is a function wrong?",
        "",
        "The head of `splinelens code check --likely-wrong`: ridge regression on differences within tasks, of numbers that "
        "need no model: findings of the check and the function's shape, each piecewise linear with knots at the quartiles. "
        f"It is calibrated out of fold; its interval comes from {record['resamples']} fits to resampled projects and tasks.",
        "",
        f"- Fitted on {record['samples']:,} functions that language models wrote, {record['share']:.1%} of them wrong "
        f"({', '.join(record['trained on'].values())}); strength {record['strength']}.",
        "- It ranks what to read first. It does not say what is wrong, and a low number is no proof. Code of another kind, "
        "such as that of people, was not measured: give `--prevalence`.",
        "",
        f"Out of fold, AUC of wrong against passing functions of one task, with the gain over {RIVAL}:",
        "",
        f"| set | tasks | AUC within a task | gain over {RIVAL} |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in record["metrics"].items():
        lines.append(f"| {SETS[name]} | {row['tasks']} | {auc_cells(row)} |")
    lines += ["", f"`{record['command']}`, splinelens {record['splinelens']}."]
    return "\n".join(lines) + "\n"
