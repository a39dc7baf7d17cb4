"""A progress bar with texts, rate and time left, on a terminal's stderr only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from time import perf_counter

from splinelens.texts import Texts


@contextmanager
def progress_bar(
    texts: Texts, shown: bool = True, delay_s: float = 2.0
) -> Iterator[Callable[[int, int], None] | None]:
    """A bar that appears after a delay and is erased at the end.

    Args:
        texts: The texts that will be read.
        shown: False never shows it; nor does a stderr that is no terminal.
        delay_s: How long to wait before it appears.

    Yields:
        A callback for the number of texts and characters finished since its last call, or None.

    Example:
        >>> with progress_bar(Texts(("hi",), {}, "list"), shown=False) as progress:
        ...     print(progress)
        None
    """
    if not (shown and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.fields[texts]}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # what is printed is data and stays on stdout
        redirect_stderr=False,
    )
    # In characters: the time of a text grows with its length.
    total, begun, done = len(texts), perf_counter(), 0
    task = bar.add_task(
        "", total=sum(len(text or "") + 1 for text in texts.texts), texts=f"0/{total:,} texts", rate=""
    )

    def update(count: int, characters: int) -> None:
        nonlocal done
        done += count
        rate = f"{done / (perf_counter() - begun):,.3g} texts/s"
        bar.update(task, advance=characters + count, texts=f"{done:,}/{total:,} texts", rate=rate)

    timer = Timer(delay_s, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield update
    finally:
        timer.cancel()
        timer.join()
        if bar.live.is_started:
            bar.stop()
