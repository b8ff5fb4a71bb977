"""What a caller pays for `registry.call`, or for `@tool(store=...)`, recording a no-op tool, against the floor and the
tracers in use today.

All of them run the same no-op: the floor reads the clock twice and appends to a deque; OpenTelemetry's SDK makes a
span with a BatchSpanProcessor and an in-memory exporter; MLflow's `@mlflow.trace` and Langfuse's `@observe` work as
they come, in the background, with their last step, the request to a server, replaced by nothing. A figure is the
time of one call in a burst of 1,000; what waits is flushed between bursts and does not count. The last column is
the processor's time for one call with everything that follows it in the background, flushed. With two versions at
once, each call is drawn by chance, and recorded with what was drawn.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Aim, Options, Result, duration, profile, ratio, versions
from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry, tool
from rollguard.record import Recorder, Spool

_NOOP = "def noop():\n    return None\n"
_NOOP_GIVEN = "def noop_given(customer, query):\n    return None\n"
_GIVEN: dict[str, Any] = {"customer": 42, "query": "latest invoices"}
_SETTLED = 2.2  # seconds after which a file's stamp tells every later change, so that no look at it reads it
_BURSTS = 5  # a run is the median of so many bursts
LIMIT, OF_A_SPAN = 3e-6, 0.1
OF_A_DRAW = 1e-6
_CALL, _TOOL = "Rollguard registry.call", "Rollguard @tool"
_BESIDE = "Rollguard registry.call, two versions at once"


def noop() -> None:
    """A tool that does nothing."""


def noop_given(customer: int, query: str) -> None:
    """A tool that takes parameters and does nothing."""


@dataclass(slots=True)
class Subject:
    """Something that runs the no-op: plainly, with parameters, and how what it left waiting is flushed."""

    name: str
    plain: Callable[[], object]
    given: Callable[[], object]
    flush: Callable[[], object] = lambda: None


def run(options: Options) -> Result:
    """Measure."""
    calls = 20 if options.tiny else 1_000
    with contextlib.ExitStack() as stack:
        subjects = [_bare(), _floor()]
        for make in (_rollguard, _beside, _decorated, _opentelemetry, _mlflow, _langfuse):
            try:
                subjects.append(stack.enter_context(contextlib.contextmanager(make)()))
            except ModuleNotFoundError as missing:
                print(f"  left out: {make.__name__.strip('_')}, for {missing.name} is not installed")
        if not options.tiny:
            time.sleep(_SETTLED)
        figures = _measure(subjects, options.runs, calls)
        result = Result(
            name="caller_overhead",
            title="What a recorded call costs its caller",
            about=__doc__,
            columns=["", "without parameters", "with parameters", "of an OpenTelemetry span", "processor, all in all"],
            rows=[_row(name, figure, figures) for name, figure in figures.items()],
            notes=[
                "A call without recording is part of every figure.",
                "Rollguard records into a SQLite file, parameters and result as JSON.",
                versions("opentelemetry-sdk", "mlflow-tracing", "langfuse"),
            ],
        )
        for ours in (_CALL, _TOOL):
            aims = _aims(ours, figures)
            if missed := next((aim for aim in aims if not aim.met), None):
                plain = next(subject.plain for subject in subjects if subject.name == ours)
                missed.profile = profile(partial(_burst, plain, calls))
            result.aims += aims
        more = figures[_BESIDE][0] - figures[_CALL][0]
        result.aims.append(Aim("Two versions at once: at most 1 µs more", duration(more), more <= OF_A_DRAW))
        return result


def _aims(ours: str, figures: dict[str, tuple[float, float, float]]) -> list[Aim]:
    took = figures[ours][0]
    aims = [Aim(f"{ours}, without parameters: under 3 µs", duration(took), took < LIMIT)]
    if span := figures.get("OpenTelemetry span"):
        share = took / span[0]
        aims.append(Aim(f"{ours}: below a tenth of the OpenTelemetry span", ratio(share), share < OF_A_SPAN))
    return aims


def _row(name: str, figure: tuple[float, float, float], figures: dict[str, tuple[float, float, float]]) -> list[str]:
    span = figures.get("OpenTelemetry span")
    return [name, *map(duration, figure[:2]), ratio(figure[0] / span[0]) if span else "", duration(figure[2])]


def _measure(subjects: list[Subject], runs: int, calls: int) -> dict[str, tuple[float, float, float]]:
    """For each subject the medians of: a call without parameters, one with them, the processor's time for one."""
    found: dict[str, list[tuple[float, float, float]]] = {subject.name: [] for subject in subjects}
    for subject in subjects:
        _bursts(subject, calls, 1)
    gc.collect()
    gc.freeze()  # what the packages brought is nobody's garbage
    try:
        for _ in range(runs):
            for subject in subjects:
                found[subject.name].append(_bursts(subject, calls, _BURSTS))
    finally:
        gc.unfreeze()
    return {
        name: (
            statistics.median(f[0] for f in each),
            statistics.median(f[1] for f in each),
            statistics.median(f[2] for f in each),
        )
        for name, each in found.items()
    }


def _bursts(subject: Subject, calls: int, bursts: int) -> tuple[float, float, float]:
    plain, given, processor = [], [], []
    for _ in range(bursts):
        began = time.process_time()
        plain.append(_burst(subject.plain, calls))
        subject.flush()
        processor.append((time.process_time() - began) / calls)
        given.append(_burst(subject.given, calls))
        subject.flush()
    return statistics.median(plain), statistics.median(given), statistics.median(processor)


def _burst(call: Callable[[], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


# --- the subjects ----------------------------------------------------------------------------------------------------


def _bare() -> Subject:
    return Subject("the no-op itself", noop, lambda: noop_given(**_GIVEN))


def _floor() -> Subject:
    kept: deque[tuple[object, ...]] = deque(maxlen=10_000)

    def plain() -> None:
        began = time.perf_counter()
        noop()
        kept.append(("noop", began, time.perf_counter() - began))

    def given() -> None:
        began = time.perf_counter()
        noop_given(**_GIVEN)
        kept.append(("noop_given", _GIVEN, began, time.perf_counter() - began))

    return Subject("floor: two clock reads, one append", plain, given)


def _rollguard() -> Iterator[Subject]:
    yield from _calling(_CALL)


def _beside() -> Iterator[Subject]:
    yield from _calling(_BESIDE, rollout=[0.5])


def _calling(name: str, rollout: Sequence[float] = ()) -> Iterator[Subject]:
    with tempfile.TemporaryDirectory(prefix="rg-bench-") as folder:
        store = ExecutionStore(f"sqlite:///{folder}/rollguard.db")
        registry = ToolRegistry(Path(folder) / "tools", store=store)
        registry.deploy("noop", _NOOP)
        registry.deploy("noop_given", _NOOP_GIVEN)
        if rollout:
            monitor = DeploymentMonitor(store, registry)
            for tool_name, code in (("noop", _NOOP), ("noop_given", _NOOP_GIVEN)):
                registry.deploy(tool_name, f"{code}\n", watch=monitor.watch(tool_name), rollout=rollout)
        call = registry.call
        yield Subject(
            name,
            lambda: call("noop"),
            lambda: call("noop_given", **_GIVEN),
            registry.recorder.flush,
        )
        registry.recorder.flush()
        getattr(registry, "close", lambda: None)()
        store.close()


def _decorated() -> Iterator[Subject]:
    with tempfile.TemporaryDirectory(prefix="rg-bench-") as folder:
        store = ExecutionStore(f"sqlite:///{folder}/rollguard.db")
        recorder = Recorder(store, Spool(Path(folder) / "spool.jsonl"))
        record = tool(recorder=recorder)
        yield Subject(_TOOL, record(noop), _with_parameters(record(noop_given)), recorder.flush)
        recorder.flush()
        store.close()


def _opentelemetry() -> Iterator[Subject]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("benchmarks")

    def plain() -> None:
        with tracer.start_as_current_span("noop"):
            noop()

    def given() -> None:
        with tracer.start_as_current_span("noop_given") as span:
            span.set_attributes(_GIVEN)
            noop_given(**_GIVEN)

    def flush() -> None:
        provider.force_flush()
        exporter.clear()

    yield Subject("OpenTelemetry span", plain, given, flush)
    provider.shutdown()


def _mlflow() -> Iterator[Subject]:
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
    import mlflow
    from mlflow.tracing.client import TracingClient

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    mlflow.set_tracking_uri("http://127.0.0.1:9")  # never asked: the requests are replaced
    replaced: dict[str, Any] = {
        "start_trace": lambda _self, trace_info: trace_info,
        "log_spans": lambda _self, _location, spans: spans,
        "_upload_trace_data": lambda _self, _info, _data: None,
    }
    kept = {name: getattr(TracingClient, name) for name in replaced}
    for name, nothing in replaced.items():
        setattr(TracingClient, name, nothing)
    yield Subject("MLflow @trace", mlflow.trace(noop), _with_parameters(mlflow.trace(noop_given)), _flush_mlflow)
    _flush_mlflow()
    for name, method in kept.items():
        setattr(TracingClient, name, method)


def _flush_mlflow() -> None:
    import mlflow

    mlflow.flush_trace_async_logging()


def _langfuse() -> Iterator[Subject]:
    from langfuse import Langfuse, observe
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    client = Langfuse(
        public_key="pk-lf-benchmark",
        secret_key="sk-lf-benchmark",
        base_url="http://127.0.0.1:9",  # never asked: the exporter is replaced
        tracer_provider=TracerProvider(),
        span_exporter=exporter,
    )

    def flush() -> None:
        client.flush()
        exporter.clear()

    yield Subject("Langfuse @observe", observe()(noop), _with_parameters(observe()(noop_given)), flush)
    client.shutdown()


def _with_parameters(traced: Callable[..., object]) -> Callable[[], object]:
    return lambda: traced(**_GIVEN)
