"""Tests benchmarks/pruning.py: the record is consistent, and pages quote it."""

import json
from pathlib import Path

import pytest
from pruning import RULES, markdown

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def record():
    return json.loads((REPOSITORY / "benchmarks" / "pruning.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def perplexities(record):
    return {
        (cell["method"], cell["by"], cell["sparsity"]): cell["perplexity"]
        for cell in record["cells"]
        if cell["seed"] == 0
    }


@pytest.fixture(scope="module")
def measured():
    return (REPOSITORY / "docs" / "pruning.md").read_text("utf-8").split("## Measured")[1].split("## ")[0]


def test_every_cell_removed_exactly_its_share(record):
    for cell in record["cells"]:
        assert cell["zeros"] == cell["removed"] == round(cell["sparsity"] * 106_168_320)


def test_transformers_alone_gives_the_dense_perplexity(record):
    dense = record["dense"]
    assert abs(dense["transformers_alone"] / dense["perplexity"] - 1) < 1e-4


def test_the_tables_quote_the_record(record, measured):
    page = (REPOSITORY / "benchmarks" / "pruning.md").read_text("utf-8")
    assert page == markdown(record)
    rows = [line for line in measured.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 * len(RULES) + 2 + len(record["effects"]["models"])
    assert not set(rows) - set(page.splitlines())


def test_the_words_about_perplexity_quote_the_record(record, perplexities, measured):
    assert f"Perplexity is {record['dense']['perplexity']:.2f} dense" in measured
    assert f"{record['bars']['increase_of_uniform_magnitude_over_best']:.0f} times" in measured
    magnitude = [perplexities["magnitude", rule, 0.5] for rule in RULES]
    assert f"between {min(magnitude):.0f} and {max(magnitude):.0f}" in measured
    for rule in ("uniform", "alpha"):
        first, second, third = (
            f"{cell['perplexity']:.1f}"
            for seed in range(3)
            for cell in record["cells"]
            if (cell["method"], cell["by"], cell["sparsity"], cell["seed"]) == ("wanda", rule, 0.5, seed)
        )
        assert f"({first}, {second} and {third})" in measured


@pytest.mark.parametrize(("method", "most"), [("wanda", 0.5), ("sparsegpt", 0.6)])
def test_up_to_50_percent_no_rule_helps_much(perplexities, method, most):
    uniform = {key[2]: value for key, value in perplexities.items() if key[:2] == (method, "uniform")}
    for (name, rule, sparsity), value in perplexities.items():
        if name == method and sparsity <= 0.5:
            assert uniform[sparsity] - value <= most, (rule, sparsity)


def test_at_60_and_70_percent_the_progression_helps_wanda_more_than_alpha(perplexities):
    for sparsity in (0.6, 0.7):
        alpha, dlp, progression = (
            perplexities["wanda", rule, sparsity] for rule in ("alpha", "dlp", "arithmetic")
        )
        assert max(dlp, progression) < alpha < perplexities["wanda", "uniform", sparsity]


def test_dlp_helps_sparsegpt_where_much_is_removed_and_harms_it_elsewhere(perplexities, measured):
    dlp, alpha, uniform, progression = (
        [perplexities["sparsegpt", rule, sparsity] for sparsity in (0.3, 0.5, 0.6, 0.7)]
        for rule in ("dlp", "alpha", "uniform", "arithmetic")
    )
    assert all(one < other for one, other in zip(dlp[2:], alpha[2:], strict=True))
    assert f"({dlp[2]:.0f} and {dlp[3]:.0f})" in measured
    assert all(min(each) > most for *each, most in zip(dlp[:2], progression[:2], uniform[:2], strict=True))


def test_the_words_about_alpha_quote_the_record(record, measured):
    gains = {
        (each["method"], each["sparsity"]): (each["nll_of_alpha_less_uniform"], each["standard_error"])
        for each in record["bars"]["alpha"]
        if each["seed"] == 0
    }
    (first, of_first), (second, of_second) = gains["wanda", 0.6], gains["wanda", 0.7]
    assert f"by {-first:.3f} (standard error over windows {of_first:.3f})" in measured
    assert f"and {-second:.3f} ({of_second:.3f})" in measured
    for sparsity in (0.3, 0.5, 0.6):
        gain, error = gains["magnitude", sparsity]
        assert f"{gain:+.3f} ± {error:.3f}" in measured
    ranks = record["sensitivity"]["rank_correlation"]
    assert f"alpha is {ranks['alpha']:+.2f}" in measured
    assert f"needs positive, {ranks['outliers (owl)']:+.2f}" in measured


def test_the_words_about_neurons_quote_the_record(record, measured):
    lines = {line["removed"]: line for line in record["neurons"]}
    silent = lines[32]["never_on"]
    assert f"{sum(map(bool, silent))} of the {len(silent)} blocks have one or two silent neurons" in measured
    assert {1, 2} == set(silent) - {0}
    increases = {count: line["perplexity"] / line["dense_perplexity"] - 1 for count, line in lines.items()}
    assert f"(2.1 %) cost {100 * increases[32]:.1f} % of perplexity" in measured
    assert f"{100 * increases[256]:.0f} %, and the seconds" in measured
    saved = [1 - line["smaller_s"] / line["dense_s"] for line in lines.values()]
    assert f"between {100 * min(saved):.0f} and {100 * max(saved):.0f} %" in measured
