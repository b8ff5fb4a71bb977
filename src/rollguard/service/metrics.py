"""Metrics for Prometheus, read from the store at each scrape: every replica shows the same of what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool

from rollguard import __version__
from rollguard.app import Rollguard
from rollguard.service.api.common import REFUSED
from rollguard.service.auth import Reading
from rollguard.service.otlp.receiver import Receiver
from rollguard.service.otlp.routes import receiver_of

router = APIRouter(tags=["metrics"], responses=REFUSED)

_HOUR = timedelta(hours=1)


class StoreCollector(Collector):
    """Reads the metrics of a system.

    Args:
        guard: the system.
        receiver: of OpenTelemetry, whose counts are this process's own.
    """

    def __init__(self, guard: Rollguard, receiver: Receiver) -> None:
        self._guard, self._receiver = guard, receiver

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as they are now."""
        build = InfoMetricFamily("rollguard_build", "The version that runs.")
        build.add_metric([], {"version": __version__})
        yield build
        yield from self._sessions()
        yield from self._tools(datetime.now(UTC))
        yield from self._delivery()
        yield from self._otlp()

    def _sessions(self) -> Iterator[Metric]:
        active = self._guard.store.reports.active_monitoring()
        labels = ["tool", "version"]
        drop = GaugeMetricFamily(
            "rollguard_session_success_drop_ratio",
            "By how much fewer calls succeed since the deployment.",
            labels=labels,
        )
        regressed = GaugeMetricFamily(
            "rollguard_session_regressed", "Whether the latest check found a regression.", labels=labels
        )
        checked = GaugeMetricFamily(
            "rollguard_session_last_check_timestamp_seconds", "When it was last checked.", labels=labels
        )
        for row in active:
            which = [row["tool_name"], str(row["version_number"] or "")]
            regressed.add_metric(which, float(bool(row["regression_detected"])))
            if row["latest_success_rate_drop"] is not None:
                drop.add_metric(which, row["latest_success_rate_drop"])
            if row["latest_check_at"] is not None:
                checked.add_metric(which, row["latest_check_at"].timestamp())
        yield GaugeMetricFamily("rollguard_sessions_active", "Deployments that are monitored now.", value=len(active))
        yield from (drop, regressed, checked)

    def _tools(self, now: datetime) -> Iterator[Metric]:
        deployments = CounterMetricFamily("rollguard_deployments", "Monitored deployments, ever.", labels=["tool"])
        rollbacks = CounterMetricFamily("rollguard_rollbacks", "Deployments rolled back, ever.", labels=["tool"])
        for row in self._guard.store.reports.deployment_stability():
            deployments.add_metric([row["tool_name"]], row["total_deployments"])
            rollbacks.add_metric([row["tool_name"]], row["total_rollbacks"])
        calls = GaugeMetricFamily(
            "rollguard_recent_calls", "Calls in the present hour and the one before.", labels=["tool", "outcome"]
        )
        since = now.replace(minute=0, second=0, microsecond=0) - _HOUR
        for tool, (number, failures) in sorted(self._guard.store.by_tool.calls(since).items()):
            calls.add_metric([tool, "success"], number - failures)
            calls.add_metric([tool, "failure"], failures)
        watchers = GaugeMetricFamily("rollguard_watchers", "Processes that check the sessions.", labels=["state"])
        states = [str(watcher.state) for watcher in self._guard.store.watchers.all()]
        for state in ("watching", "behind", "silent"):
            watchers.add_metric([state], states.count(state))
        yield from (deployments, rollbacks, calls, watchers)

    def _delivery(self) -> Iterator[Metric]:
        store, recorder = self._guard.store, self._guard.registry.recorder
        pending, (failing, _error) = store.outbox.undelivered(), store.outbox.failing()
        yield GaugeMetricFamily("rollguard_alerts_pending", "Alerts that not every channel took yet.", value=pending)
        yield GaugeMetricFamily("rollguard_alerts_failing", "Alerts that a channel refused so far.", value=failing)
        yield GaugeMetricFamily(
            "rollguard_spool_bytes",
            "Executions on this machine's disk until the database is back.",
            value=recorder.spool.size,
        )
        yield CounterMetricFamily(
            "rollguard_executions_lost", "Executions that could be neither stored nor spooled.", value=recorder.lost
        )

    def _otlp(self) -> Iterator[Metric]:
        counts = self._receiver.counts
        spans = CounterMetricFamily("rollguard_otlp_spans", "Spans received, by what they are.", labels=["kind"])
        for kind in ("calls", "ignored", "rejected", "head_sampled", "tail_sampled"):
            spans.add_metric([kind], counts[kind])
        yield spans
        yield CounterMetricFamily("rollguard_otlp_logs", "Log records received.", value=counts["logs"])
        yield CounterMetricFamily(
            "rollguard_otlp_executions", "Executions recorded from spans.", value=counts["executions"]
        )
        yield GaugeMetricFamily(
            "rollguard_otlp_spans_waiting", "Spans of calls that wait for others.", value=self._receiver.waiting
        )


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, _caller: Reading) -> Response:
    """Return the metrics, in the format that the header Accept asks for."""
    registry: CollectorRegistry = request.app.state.metrics
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    return Response(await run_in_threadpool(encode, registry), media_type=kind)


def add_to(app: FastAPI) -> None:
    """Add the metrics to an application."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(app.state.service.guard, receiver_of(app)))
    ProcessCollector(registry=registry)
    app.state.metrics = registry
    app.include_router(router)
