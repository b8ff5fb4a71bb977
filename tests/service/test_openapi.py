"""The OpenAPI document is what the service does: tried with requests made from it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from rollguard import Rollguard
from rollguard.service.app import create_app
from rollguard.settings import ServiceSettings, Settings
from tests.conftest import code
from tests.service.conftest import row


@schemathesis.serializer("application/x-ndjson", "application/jsonl", "application/json-lines")
def as_lines(_context: Any, value: Any) -> bytes:
    """A body of lines as it is."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rollguard, dict[str, str]]]:
    """A system with something of everything in it, and a token for all of it."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    (folder / "tools").mkdir()
    unlimited = ServiceSettings(requests_per_minute=10**9, rows_per_minute=10**9)
    made = Settings(database=f"sqlite:///{folder}/rollguard.db", tools_dir=folder / "tools", service=unlimited)
    with Rollguard(dataclasses.replace(made)) as guard:
        for version in (1, 2):
            guard.deploy("weather", code(version, "weather"))
        guard.release("v1", {"other": code(1, "other")})
        guard.store.store_tool_executions(
            {**row(number, tool_name="weather"), "success": number % 3 > 0, "executed_at": datetime.now(UTC)}
            for number in range(30)
        )
        scopes = ("ingest", "read", "operate", "approve")
        _made, secret = guard.store.tokens.create("all", scopes, created_by="me", now=datetime.now(UTC))
        yield guard, {"Authorization": f"Bearer {secret}"}


@pytest.mark.long
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_service_is_as_its_document_says(tried: tuple[Rollguard, dict[str, str]], mode: GenerationMode) -> None:
    """Each request made from the document, right or wrong, is answered as the document says."""
    guard, headers = tried
    found: list[str] = []
    document = schemathesis.openapi.from_asgi("/openapi.json", create_app(guard, watch=False))
    for operation in document.get_all_operations():
        found += _problems_of(operation.ok(), headers, mode)
    assert not found, "\n\n".join(found)


# Some rules are beyond JSON Schema: what a cursor is, the length of all tags together, which names are printable.
# So a request that fits the document may still be refused, with 422. And an empty object in a query is not sent at all,
# so a GET that is meant to be wrong may be right.


def _problems_of(operation: Any, headers: dict[str, str], mode: GenerationMode) -> list[str]:
    """What is wrong with the answers of one operation."""
    excluded = [positive_data_acceptance, *([negative_data_rejection] if operation.method == "get" else [])]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
    def each(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    try:
        each()
    except Unsatisfiable:  # such as an operation that nothing can be wrong with
        return []
    except BaseExceptionGroup as failures:
        return [f"{operation.label}: {one}" for one in failures.exceptions]
    return []
