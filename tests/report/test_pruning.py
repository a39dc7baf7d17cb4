"""Tests of the record of a plan of pruning, its file and its page."""

import json

import pytest

from splinelens.apps.pruning import plan
from splinelens.errors import BadModel, BrokenArtifact, OutputExists
from splinelens.models import load_model
from splinelens.report.pruning import plan_heading, plan_table, read_plan, write_plan
from splinelens.report.pruning_page import plan_html


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder())


@pytest.fixture(scope="module")
def planned(loaded):
    return plan(loaded, 0.5)


def test_a_plan_is_read_as_it_was_written(planned, loaded, tmp_path):
    write_plan(planned, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == planned
    planned.require_model(loaded)
    with pytest.raises(OutputExists, match="cannot write"):
        write_plan(planned, tmp_path / "plan.json")


def test_a_plan_for_another_model_is_refused(planned, writer_folder):
    with pytest.raises(BadModel, match=r"the plan is for .*, and .* is not that model: the architecture"):
        planned.require_model(load_model(writer_folder("mixtral")))
    changed = load_model(writer_folder())
    changed.model.layers[2].mlp.up_proj.weight[0, 0] += 1
    with pytest.raises(BadModel, match="the weights differ"):
        planned.require_model(changed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "is no plan of schema 1"),
        ({"sparsity": 0.4}, "are not the share 0.4"),
        ({"by": "other"}, "no ratios by 'other'"),
        ({"extra": 1}, "extra"),
        ({"weights": 7}, "states other numbers of weights"),
        ({"matrices": []}, "blocks of the matrices and of the ratios differ"),
    ],
)
def test_a_plan_whose_numbers_do_not_fit_is_refused(planned, tmp_path, change, reason):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(json.loads(json.dumps(planned.to_dict())) | change))
    with pytest.raises(BrokenArtifact, match=reason):
        read_plan(path)


def test_files_that_are_no_plan_are_refused(planned, tmp_path):
    values = json.loads(json.dumps(planned.to_dict()))
    values["matrices"][0]["remove"] = 10**9
    path = tmp_path / "plan.json"
    for content, reason in (
        (json.dumps(values), "a matrix loses more weights than it has"),
        (json.dumps(_with_ratio(planned, "uniform", 1.2)), "a ratio by uniform is not from 0 to 0.99"),
        (json.dumps(_with_ratio(planned, "alpha", -3.0)), "a ratio by alpha is not from 0 to 0.99"),
        (json.dumps(_with_ratio(planned, "alpha", 0.9)), "of block 0 does not lose the ratio of its block"),
        ("[]", "is no plan"),
        ('{"schema": 1', "is not JSON"),
    ):
        path.write_text(content)
        with pytest.raises(BrokenArtifact, match=reason):
            read_plan(path)
    with pytest.raises(BrokenArtifact, match="cannot be read"):
        read_plan(tmp_path / "none.json")


def test_the_table_has_a_row_a_block_and_a_column_a_method(planned):
    table = plan_table(planned)
    assert table.head[3:] == ("% by alpha *", "% by farms", "% by arithmetic", "% by uniform")
    assert [row[0] for row in table.rows] == ["0", "1", "2"]
    assert f"{planned.removed:,} are removed (50 %), by alpha" in plan_heading(planned)


def test_the_page_shows_every_method_and_matrix(planned):
    page = plan_html(planned)
    assert "2 self_attn.q_proj" in page
    assert "owl is left out: it needs calibration texts (--calibration FILE)." in page
    assert "http" not in page.split("<script>")[0].replace("http-equiv", "")


def _with_ratio(planned, rule, ratio):
    """A plan as JSON values, with another ratio of the first block."""
    values = json.loads(json.dumps(planned.to_dict()))
    values["allocations"][rule]["ratios"][0] = ratio
    return values
