"""Tests models/quiet.py."""

import warnings

import pytest
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging

from splinelens.models.quiet import quiet


@pytest.fixture(autouse=True)
def _settings_as_before():
    verbosity, bars, hub = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        are_progress_bars_disabled(),
    )
    yield
    logging.set_verbosity(verbosity)
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    (disable_progress_bars if hub else enable_progress_bars)()


@pytest.mark.parametrize("bars", [True, False])
def test_every_setting_is_put_back_even_after_an_exception(bars):
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    logging.set_verbosity_info()
    with pytest.raises(KeyError), quiet():
        assert not logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == logging.ERROR
        raise KeyError("stop")
    assert logging.is_progress_bar_enabled() == bars
    assert logging.get_verbosity() == logging.INFO


def test_hub_bars_that_were_off_stay_off():
    logging.enable_progress_bar()
    disable_progress_bars()
    with quiet():
        pass
    assert are_progress_bars_disabled()
    assert logging.is_progress_bar_enabled()


def test_warnings_are_silent_inside_and_heard_outside():
    with quiet():
        warnings.warn("inside", stacklevel=1)
    with pytest.warns(UserWarning, match="outside"):
        warnings.warn("outside", stacklevel=1)


def test_log_lines_of_transformers_are_silent_inside(capsys):
    with quiet():
        logging.get_logger("transformers.modeling_utils").warning("a report")
    assert capsys.readouterr() == ("", "")
