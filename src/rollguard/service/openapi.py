"""The OpenAPI document: what FastAPI finds out, and what it cannot know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from rollguard.service.otlp.answers import PROTOBUF
from rollguard.service.rows import Row

_REF = "#/components/schemas/{model}"


def document_of(app: FastAPI, root_path: str) -> Callable[[], dict[str, Any]]:
    """Return what makes the document of an application, once.

    Args:
        root_path: the prefix that a reverse proxy adds.
    """

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes,
                servers=[{"url": root_path}] if root_path else None,
            )  # fmt: skip
            schemas = found["components"]["schemas"]
            row = TypeAdapter(Row).json_schema(ref_template=_REF)
            schemas |= {**row.pop("$defs", {}), "Row": row | {"additionalProperties": False}}
            for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nothing answers
                schemas.pop(unused, None)
            for operations in found["paths"].values():
                for operation in operations.values():
                    _only_problems(operation)
            app.openapi_schema = found
        return app.openapi_schema

    return document


def _only_problems(operation: dict[str, Any]) -> None:
    """Leave problem+json as the only form of a refusal, but where OpenTelemetry wants another one."""
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if status.startswith(("4", "5")) and PROTOBUF not in content:
            content.pop("application/json", None)
