"""Tests ``serve/service.py``: batches, bounded admission, failures, readiness and the end."""

import asyncio
import threading
from collections import namedtuple

import pytest

from splinelens.errors import BadDetector, BadTexts, CannotServe, NotReady, Overloaded
from splinelens.report.scores import TextScore
from splinelens.serve.service import ScoringService

Artifact = namedtuple("Artifact", "limits")


class Group:
    """In place of detectors: notes its batches, waits while ``closed``, and fails at the text ``boom``."""

    def __init__(self):
        self.artifacts = {"one": Artifact(self.limits)}
        self.batches = []
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.open.set()

    @staticmethod
    def limits(fpr):
        if fpr not in (0.01, 0.05):
            raise BadDetector("no such threshold")

    def score(self, texts, *, explain=False, fpr=0.05, progress=None):
        self.batches.append((list(texts), explain))
        self.progress = progress
        self.entered.release()
        assert self.open.wait(60)
        if "boom" in texts:
            raise RuntimeError(f"failed at {texts}")
        return [{"one": TextScore(row, 0.5, "clean", len(text), False)} for row, text in enumerate(texts)]


@pytest.fixture
def group():
    return Group()


@pytest.fixture
def started(group):
    """Starts a service: ``started(max_waiting=3)``."""
    services = []

    def start(**options):
        services.append(ScoringService(group, **options))
        services[-1].start()
        return services[-1]

    yield start
    group.open.set()
    for service in services:
        assert service.stop(60) == 0


async def waiting(service, group, *requests):
    """The tasks of requests of which the first runs and the others wait."""
    group.open.clear()
    running = asyncio.create_task(service.score(["first"]))
    assert await asyncio.to_thread(group.entered.acquire, timeout=60)
    tasks = [asyncio.create_task(service.score(texts, **options)) for texts, options in requests]
    await asyncio.sleep(0)
    return [running, *tasks]


def test_texts_that_wait_are_one_batch_and_return_in_order(started, group):
    async def main():
        requests = [([f"{'a' * number}", "b"], {}) for number in range(1, 5)]
        tasks = await waiting(started(), group, *requests)
        group.open.set()
        return await asyncio.gather(*tasks)

    rows = asyncio.run(main())
    assert [len(texts) for texts, _ in group.batches] == [1, 8]
    assert [[records["one"].tokens for records in row] for row in rows[1:]] == [[n, 1] for n in range(1, 5)]


def test_a_batch_ends_at_its_budget_of_tokens(started, group):
    async def main():
        tasks = await waiting(started(batch_tokens=100), group, (["x" * 160] * 5, {}))
        group.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert [len(texts) for texts, _ in group.batches] == [1, 2, 2, 1]


def test_requests_with_other_options_are_another_batch(started, group):
    async def main():
        requests = [(["a"], {"explain": True}), (["b"], {}), (["c"], {"explain": True})]
        tasks = await waiting(started(), group, *requests)
        group.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert group.batches[1:] == [(["a", "c"], True), (["b"], False)]


def test_what_exceeds_the_waiting_room_is_refused_at_once_and_the_rest_is_answered(started, group):
    async def main():
        service = started(max_waiting=3)
        tasks = await waiting(service, group, (["a", "b"], {}))
        with pytest.raises(Overloaded, match="3 texts are waiting; try again in 1 s"):
            await service.score(["c"])
        group.open.set()
        await asyncio.gather(*tasks)
        assert len(await service.score(["c"])) == 1

    asyncio.run(main())


def test_a_text_that_fails_takes_no_other_with_it_and_no_text_is_logged(started, group, caplog):
    async def main():
        tasks = await waiting(started(), group, (["a", "b"], {}), (["boom"], {}), (["c"], {}))
        group.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    _, ab, boom, c = asyncio.run(main())
    assert (len(ab), len(c)) == (2, 1)
    assert isinstance(boom, NotReady)
    (record,) = caplog.records
    assert (record.message, record.error) == ("pass failed", "RuntimeError")
    assert "boom" not in str(vars(record))


def test_a_request_is_checked_before_any_work(started, group):
    service = started(max_text_tokens=10)
    for texts, match in (
        (["a"] * 33, "33 texts in one"),
        ([], "0 texts"),
        (["a" * 2501], "text 0 has 2,501"),
    ):
        with pytest.raises(BadTexts, match=match):
            asyncio.run(service.score(texts))
    with pytest.raises(BadDetector, match=r"no threshold for fpr=0\.2; give 0\.001"):
        asyncio.run(service.score(["a"], fpr=0.2))
    assert group.batches == []


def test_a_stuck_batch_is_a_problem_and_new_texts_are_refused(started, group):
    async def main():
        service = started(stuck_s=0.05)
        (running,) = await waiting(service, group)
        while service.problem is None:
            await asyncio.sleep(0.01)
        with pytest.raises(NotReady, match=r"no progress for 0\.05 s"):
            await service.score(["a"])
        assert await service.check() == service.problem
        group.open.set()
        await running
        assert await service.check() is None

    asyncio.run(main())


def test_readiness_is_a_pass_that_succeeds(started, group):
    service = started()
    assert asyncio.run(service.check()) is None
    assert asyncio.run(service.check()) is None  # the first is recent
    assert len(group.batches) == 1


def test_those_who_ask_share_one_probe_which_is_no_failure_while_a_batch_runs(started, group):
    async def main():
        service = started(stuck_s=0.3, max_waiting=2)
        (running,) = await waiting(service, group)
        beat = asyncio.create_task(progress(service))
        assert await asyncio.gather(*(service.check() for _ in range(50))) == [None] * 50
        assert len(await asyncio.gather(*(service.check() for _ in range(50)))) == 50
        beat.cancel()
        group.open.set()
        await running
        await asyncio.sleep(0)

    async def progress(service):
        while True:
            group.progress(0, 1)
            await asyncio.sleep(0.02)

    asyncio.run(main())
    assert sum(len(texts) for texts, _ in group.batches) <= 2


def test_a_service_whose_passes_fail_is_not_ready(started, group, monkeypatch):
    service = started()
    monkeypatch.setattr(group, "score", lambda *texts, **options: 1 / 0)
    assert asyncio.run(service.check()) == "a forward pass failed"


def test_a_service_that_stops_scores_what_waits_and_takes_nothing_new(started, group):
    async def main():
        service = started()
        tasks = await waiting(service, group, (["a", "b"], {}))
        service.refuse_new()
        with pytest.raises(NotReady, match="stopping"):
            await service.score(["c"])
        assert await service.check() == "the server is stopping"
        group.open.set()
        rows = await asyncio.gather(*tasks)
        assert await asyncio.to_thread(service.stop, 60) == 0
        return rows

    assert [len(row) for row in asyncio.run(main())] == [1, 2]


def test_detectors_that_score_nothing_are_refused_at_the_start(group, monkeypatch):
    failed = {"one": TextScore(0, None, "undetermined", 0, False, reason="cannot be run")}
    monkeypatch.setattr(group, "score", lambda *texts, **options: [failed])
    with pytest.raises(CannotServe, match="detector one cannot score a text: it cannot be run"):
        ScoringService(group).warm_up()
