"""The operator's own metrics, in a registry of its own."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from llmfleet.kube.resources import Resource

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What the operator counts about itself.

    Attributes:
        reconciles: finished reconciles by result: ok, refused, retry or error.
        reconcile_s: their duration in seconds.
        writes: changes made, by reason.
        leading: 1 while this process holds the Lease.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "llmfleet_reconciles",
            "Finished reconciles by result: `ok`; `refused`, something of what the spec asks for is not accepted; "
            "`retry`, the API server could not be asked; `error`, a fault in llmfleet itself.",
            ["result"],
            registry=self.registry,
        )
        self.reconcile_s = Histogram(
            "llmfleet_reconcile_seconds", "Duration of reconciles.", buckets=_SECONDS, registry=self.registry
        )
        self.writes = Counter("llmfleet_changes", "Changes made, by reason.", ["reason"], registry=self.registry)
        self.leading = Gauge("llmfleet_leading", "1 while this process holds the Lease.", registry=self.registry)
        self._calls = Histogram(
            "llmfleet_api_call_seconds",
            "Calls to the API server by verb, resource and HTTP code.",
            ["verb", "resource", "code"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        Info("llmfleet_build", "Version of the operator.", registry=self.registry).info(
            {"version": version("llmfleet")}
        )

    def observe_call(self, verb: str, resource: Resource, code: str, duration_s: float) -> None:
        """Count one call to the API server."""
        self._calls.labels(verb, resource.plural, code).observe(duration_s)

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when Prometheus asks."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a counter that is read when Prometheus asks; its name there ends in ``_total``."""
        self.registry.register(_Count(name, help_text, read))

    def gauges(self, name: str, help_text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Add a gauge with one label; all its values are read when Prometheus asks."""
        self.registry.register(_Gauges(name, help_text, label, read))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


@dataclass(frozen=True, slots=True)
class _Count(Collector):
    name: str
    help_text: str
    read: Callable[[], float]

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self.name, self.help_text, value=self.read())


@dataclass(frozen=True, slots=True)
class _Gauges(Collector):
    name: str
    help_text: str
    label: str
    read: Callable[[], Mapping[str, float]]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self.name, self.help_text, labels=[self.label])
        for value, number in self.read().items():
            family.add_metric([value], number)
        yield family
