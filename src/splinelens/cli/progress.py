"""A progress bar with texts, rate and time left, on a terminal's stderr only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from splinelens.texts import Texts


@contextmanager
def progress_bar(
    texts: Texts, shown: bool = True, delay_s: float = 2.0, passes: int = 1
) -> Iterator[Callable[[int, int], None] | None]:
    """A bar that appears with the first progress after a delay, and is erased after the last text.

    All texts are read ``passes`` times. It is never shown if not ``shown``, or on a stderr that is no
    terminal.

    Yields:
        A callback for the number of texts and characters finished since its last call, or None.

    Example:
        >>> with progress_bar(Texts(("hi",), {}, "list"), shown=False) as progress:
        ...     print(progress)
        None
    """
    if not shown or sys.stderr is None or not sys.stderr.isatty():
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
    total, started, done = passes * len(texts), perf_counter(), 0
    task = bar.add_task("", total=passes * sum(len(text or "") + 1 for text in texts.texts))

    def update(count: int, characters: int) -> None:
        nonlocal done
        done += count
        elapsed_s = perf_counter() - started
        rate = f"{done / elapsed_s:,.3g} texts/s" if done else "reading a long text"
        bar.update(task, advance=characters + count, texts=f"{done:,}/{total:,} texts", rate=rate)
        if done >= total:  # what follows is no reading, and may print
            stop()
        elif elapsed_s > delay_s:
            bar.start()

    def stop() -> None:
        if bar.live.is_started:
            bar.stop()

    try:
        yield update
    finally:
        stop()


@contextmanager
def trial_bar(shown: bool = True, unit: str = "trials") -> Iterator[Callable[[int, int], None] | None]:
    """A bar of trials or other units with the time left, on a terminal's stderr only; erased at the end.

    Yields:
        A callback for the units that are done and all of them, or None.
    """
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(unit),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
