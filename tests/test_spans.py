"""Rollguard's own spans: what they are of, what they say, and what they never say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rollguard import Rollguard
from rollguard.errors import InvalidSetting, RollguardError
from rollguard.model import own_spans
from rollguard.settings import Settings
from rollguard.settings.sections import OtlpSettings
from tests.conftest import code
from tests.loop.improving import TOOL, System

SECRET = "sk-live-1234567890abcdef"
Made = Callable[[], list[ReadableSpan]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """The spans that were made so far, in the order in which they ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(own_spans, "_tracer", None)
    own_spans.enable("1.2.3", provider)
    yield lambda: list(exporter.get_finished_spans())
    provider.shutdown()


@pytest.fixture
def guard(tmp_path: Path, sqlite_template: Path) -> Iterator[Rollguard]:
    """A system with a version that fails, an hour after a good one."""
    file, now = tmp_path / "rollguard.db", datetime.now(UTC)
    file.write_bytes(sqlite_template.read_bytes())
    with Rollguard(Settings(database=f"sqlite:///{file}", tools_dir=tmp_path / "tools")) as guard:
        guard.registry.deploy("my_tool", code(1), deployed_at=now - timedelta(hours=50))
        guard.registry.deploy("my_tool", code(2), deployed_at=now - timedelta(hours=1))
        guard.store.store_tool_executions(
            {
                "tool_name": "my_tool",
                "success": number < 60,
                "error": None if number < 60 else f"KeyError: {SECRET}",
                "parameters": {"key": SECRET},
                "executed_at": now - (timedelta(hours=20) if number < 60 else timedelta(minutes=50)),
            }
            for number in range(90)
        )
        yield guard


def test_a_rollback_in_spans(made: Made, guard: Rollguard) -> None:
    """A cycle that rolls back makes spans of the check and of each step of the rollback, each below what caused it."""
    guard.monitor.start_monitoring("my_tool", datetime.now(UTC) - timedelta(hours=1))
    guard.loop_of(improve=False).tick()
    found = {span.name: span for span in made()}
    parents = {span.context.span_id: span.name for span in made()}
    above = {name: parents.get(span.parent.span_id) if span.parent else None for name, span in found.items()}
    assert above["rollguard.cycle"] is None
    assert above["rollguard.rollback"] == "rollguard.stage"
    assert above["rollguard.rollback.claim"] == above["rollguard.rollback.act"] == "rollguard.rollback"
    assert above["rollguard.rollback.confirm"] == "rollguard.rollback.act"
    said = dict(found["rollguard.rollback"].attributes or {})
    assert said["gen_ai.tool.name"] == "my_tool"
    assert (said["rollguard.from_version"], said["rollguard.to_version"]) == (2, 1)
    assert said["rollguard.rollback_state"] == "finished"
    checked = next(
        span for span in made() if span.name == "rollguard.check" and (span.attributes or {}).get("rollguard.sessions")
    )
    assert (checked.attributes or {})["rollguard.verdict.regressed"] == 1
    scope = found["rollguard.cycle"].instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version) == ("rollguard", "1.2.3")
    assert SECRET not in "".join(span.to_json() for span in made())


def test_an_improvement_in_spans(made: Made, tmp_path: Path, sqlite_template: Path) -> None:
    """A cycle that writes and rehearses a repair makes spans of both, of the tool that it is about."""
    shutil.copy(sqlite_template, tmp_path / "rollguard.db")
    system = System(f"sqlite:///{tmp_path}/rollguard.db", tmp_path, rules={})
    system.weak().tick()
    system.close()
    about = [
        dict(span.attributes or {}) for span in made() if span.name in ("rollguard.improvement", "rollguard.rehearsal")
    ]
    assert {said["gen_ai.tool.name"] for said in about} == {TOOL}
    assert {said["rollguard.attempt_id"] for said in about if "rollguard.attempt_id" in said} == {1}
    assert "passes" in {said.get("rollguard.verdict") for said in about}
    assert "could not convert" not in "".join(span.to_json() for span in made())


def test_an_error_in_a_span(made: Made) -> None:
    """An exception is the span's status and its type; what it says is not in the span."""
    with pytest.raises(RollguardError), own_spans.span("check", tool_name="my_tool"):
        raise RollguardError(SECRET)
    (span,) = made()
    assert (span.attributes or {})["error.type"] == "RollguardError"
    assert not span.status.is_ok
    assert span.events == ()
    assert SECRET not in span.to_json()


@pytest.mark.long
def test_off_is_off(tmp_path: Path) -> None:
    """By default no span is made, and nothing of OpenTelemetry is imported."""
    program = (
        "import sys; from rollguard import *; from rollguard.settings import Settings\n"
        f"Rollguard(Settings(database='sqlite://', tools_dir={str(tmp_path)!r})).loop_of(improve=False).tick()\n"
        "sys.exit('opentelemetry' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)


def test_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`own_spans` turns them on; without the extra the error names it."""
    monkeypatch.setattr(own_spans, "_tracer", None)
    on = Settings(database="sqlite://", tools_dir=tmp_path / "tools", otlp=OtlpSettings(own_spans=True))
    Rollguard(on, adopt=False).store.close()
    assert own_spans._tracer is not None
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InvalidSetting, match=r"rollguard\[otel\]"):
        Rollguard(on, adopt=False)
