"""What is measured of the bot, for Prometheus. One set a bot; names begin with `unstick_`.

What the store knows (queues, approvals that wait, open incidents) is asked for when it is scraped, so that every replica
tells the same.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bot.store import State
from diagnostics.model import Status
from diagnostics.scan import Report
from runbooks.database import StoreError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Everything that is measured. Callable from any thread. What `state` knows is told too, where there is one."""

    def __init__(self, state: State | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        self._jobs = Histogram(
            "unstick_job_seconds",
            "How long what was asked for took, by its kind.",
            ["kind"],
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300),
            registry=registry,
        )
        self._scan = Histogram(
            "unstick_scan_seconds",
            "How long a scan of a cluster took.",
            ["cluster"],
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300),
            registry=registry,
        )
        self._findings = Gauge(
            "unstick_findings",
            "What the last scan by this replica found: of several, the one with the newest last scan is right.",
            ["cluster", "check"],
            registry=registry,
        )
        self._unknown = Gauge(
            "unstick_unknown",
            "1 where the last scan by this replica could not judge a check.",
            ["cluster", "check"],
            registry=registry,
        )
        self._scanned = Gauge(
            "unstick_last_scan_timestamp_seconds",
            "When this replica last scanned a cluster whole.",
            ["cluster"],
            registry=registry,
        )
        self._acks = Histogram(
            "unstick_slack_ack_seconds",
            "How long Slack waited for an acknowledgement.",
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 1.5, 3),
            registry=registry,
        )
        self._requests = Counter("unstick_slack_requests_total", "What came from Slack.", ["kind"], registry=registry)
        self._posts = Counter(
            "unstick_slack_calls_total", "Calls to Slack's Web API.", ["method", "outcome"], registry=registry
        )
        self._lag = Gauge(
            "unstick_watch_lag_seconds", "How old the newest word of a watch is.", ["cluster"], registry=registry
        )
        self._leads = Gauge("unstick_leader", "1 where this replica leads.", registry=registry)
        if state is not None:
            registry.register(_OfStore(state))

    def did(self, kind: str, seconds: float) -> None:
        """Something that was asked for is done."""
        self._jobs.labels(kind).observe(seconds)

    def scanned(self, cluster: str, report: Report, seconds: float) -> None:
        """What a scan came to; of one of some namespaces only how long it took."""
        self._scan.labels(cluster).observe(seconds)
        if report.snapshot.scope.namespaces:
            return
        for outcome in report.outcomes:
            self._findings.labels(cluster, outcome.check).set(len(outcome.findings))
            self._unknown.labels(cluster, outcome.check).set(outcome.status is Status.UNKNOWN)
        self._scanned.labels(cluster).set(report.taken_at.timestamp())

    def acknowledged(self, kind: str, seconds: float) -> None:
        """Something from Slack was acknowledged."""
        self._requests.labels(kind).inc()
        self._acks.observe(seconds)

    def called(self, method: str, outcome: str) -> None:
        """A call to Slack ended: `ok`, `limited`, `refused` or `unreachable`."""
        self._posts.labels(method, outcome).inc()

    def leads(self, lags: Mapping[str, Callable[[], float]]) -> None:
        """This replica leads from now on. `lags` tell how old the newest word of each watch is, by cluster."""
        self._leads.set(1)
        for cluster, seconds in lags.items():
            self._lag.labels(cluster).set_function(seconds)

    def follows(self) -> None:
        """This replica does not lead any more: another one watches."""
        self._leads.set(0)
        self._lag.clear()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it. It asks the store: call it in a thread."""
        return generate_latest(self.registry)


class _OfStore(Collector):
    def __init__(self, state: State) -> None:
        self._state = state

    def describe(self) -> list[Metric]:
        return []  # nothing is asked of the store only to register

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("unstick_store_up", "1 while the state database answers.")
        try:
            measured = list(self._measured())
            up.add_metric([], 1)
        except StoreError:
            measured = []
            up.add_metric([], 0)
        yield up
        yield from measured

    def _measured(self) -> Iterator[Metric]:
        there = self._state.counts.look()
        yield _gauge(
            "unstick_slack_queue", "Messages that Slack has not been told in their newest version.", there.behind
        )
        yield _gauge(
            "unstick_slack_queue_age_seconds",
            "For how long the one of them that has waited longest waits.",
            there.behind_for,
        )
        yield _gauge("unstick_jobs", "What was asked for and is not done yet.", there.jobs)
        yield _gauge("unstick_approvals_waiting", "Executions that wait for an approver.", there.approvals)
        incidents = GaugeMetricFamily("unstick_incidents_open", "Open incidents.", labels=["cluster"])
        for cluster, count in there.incidents.items():
            incidents.add_metric([cluster], count)
        yield incidents


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, value=value)
