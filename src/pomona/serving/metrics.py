"""Metrics: what Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from pomona.engines.queue import BatchQueue

# When each series was created is of no use to anybody.
disable_created_metrics()  # type: ignore[no-untyped-call]
# Seconds: an image takes some hundredths.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts what a server does.

    Parameters
    ----------
    queue : BatchQueue
        Whose workers are counted.
    """

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, queue: BatchQueue) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "pomona_http_requests", "Requests.", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "pomona_http_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._images = Counter("pomona_images", "Images answered.", registry=registry)
        self._errors = Counter(
            "pomona_image_errors", "Images that gave no features.", ["reason"], registry=registry
        )
        self._reloads = Counter("pomona_reloads", "Classifiers taken up.", registry=registry)
        self._feedback = Counter("pomona_feedback", "Feedback kept.", registry=registry)
        self._gauge("pomona_images_waiting", "Images that wait.", lambda: queue.waiting)
        self._gauge("pomona_workers_ready", "Workers that live.", lambda: queue.ready)
        registry.register(_Deaths(queue))

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(name, text, registry=self._registry).set_function(value)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route).observe(seconds)

    def image(self, reason: str | None) -> None:
        """Counts an image; reason: why it gave no features, or None."""
        if reason is None:
            self._images.inc()
        else:
            self._errors.labels(reason).inc()

    def reload(self) -> None:
        """Counts a classifier that was taken up."""
        self._reloads.inc()

    def judgement(self) -> None:
        """Counts feedback that was kept."""
        self._feedback.inc()

    def text(self) -> bytes:
        """Returns all figures in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Deaths(Collector):
    """Counts the workers that died, as the queue does."""

    def __init__(self, queue: BatchQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[CounterMetricFamily]:
        deaths = CounterMetricFamily("pomona_worker_deaths", "Workers that died.")
        deaths.add_metric([], self._queue.deaths)
        yield deaths
