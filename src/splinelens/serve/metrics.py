"""What the server counts, in the format of Prometheus."""

from collections.abc import Mapping, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from splinelens.report.novelty import NoveltyScore
from splinelens.report.scores import TextScore

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters, gauges and histograms; the labels are routes, status codes, detectors and verdicts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.requests = counter("splinelens_requests", "Requests by route and status.", ("route", "status"))
        self.request_seconds = histogram(
            "splinelens_request_seconds", "Time to answer a request.", ("route",), buckets=_SECONDS
        )
        self.verdicts = counter("splinelens_verdicts", "Texts by verdict.", ("detector", "verdict"))
        self.novelty = counter(
            "splinelens_novelty", "Texts by verdict beside ordinary traffic.", ("form", "verdict")
        )
        self.chat = counter(
            "splinelens_chat", "Prompts and replies of chats by verdict.", ("part", "verdict")
        )
        self.tokens = counter("splinelens_tokens", "Tokens of the texts that were scored.")
        self.waiting = Gauge(
            "splinelens_waiting_texts", "Texts that wait or are being scored.", registry=self.registry
        )
        self.batch_seconds = histogram("splinelens_batch_seconds", "Time of a batch.", buckets=_SECONDS)
        self.batch_texts = histogram(
            "splinelens_batch_texts", "Texts of a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )

    def count(self, results: Sequence[Mapping[str, TextScore] | NoveltyScore], seconds: float) -> None:
        """Count a batch and the verdicts on its texts, by detectors or by the range of ordinary traffic."""
        self.batch_texts.observe(len(results))
        self.batch_seconds.observe(seconds)
        for records in results:
            if isinstance(records, NoveltyScore):
                self.novelty.labels("distance", records.verdict).inc()
                if records.contrast_verdict:
                    self.novelty.labels("contrastive", records.contrast_verdict).inc()
                continue
            for detector, record in records.items():
                self.verdicts.labels(detector, record.verdict).inc()
            self.tokens.inc(next(iter(records.values())).tokens)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
