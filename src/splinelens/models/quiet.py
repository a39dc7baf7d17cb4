"""Silence transformers: progress bars, log lines and warnings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_LOCK = RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Switch off progress bars, log lines and warnings of transformers, and restore every setting afterwards.

    The settings are global, so threads that load at the same time take turns.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        hub_bars_off = are_progress_bars_disabled()  # transformers switches both
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
                if hub_bars_off:
                    disable_progress_bars()
