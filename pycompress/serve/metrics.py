"""What a server counts, for Prometheus. Labels are names of models and statuses, never what a client sent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SAMPLES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one application."""

    def __init__(self):
        self.registry = CollectorRegistry()
        own = {"registry": self.registry, "namespace": "pycompress"}
        self.requests = Counter("requests", "Requests for inference, by status.", ["model", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "From the request's first byte to its response.", ["model"], buckets=SECONDS, **own
        )
        self.run_seconds = Histogram("run_seconds", "Of one batch.", ["model"], buckets=SECONDS, **own)
        self.samples = Histogram("batch_samples", "In one batch.", ["model"], buckets=SAMPLES, **own)
        self.waiting = Gauge("waiting_requests", "Requests in the queue.", ["model"], **own)
        self.active = Gauge("active_requests", "Requests in work or waiting.", **own)

    def watch(self, name: str, batcher) -> None:
        """Count what a model's batcher does."""
        run_seconds, samples = self.run_seconds.labels(name), self.samples.labels(name)

        def observe(count: int, seconds: float) -> None:
            samples.observe(count)
            run_seconds.observe(seconds)

        batcher.observe = observe
        self.waiting.labels(name).set_function(lambda: len(batcher.queue))

    def text(self) -> bytes:
        return generate_latest(self.registry)
