"""Receive OpenTelemetry: spans and logs over OTLP/HTTP become executions of tools."""

from rollguard.service.otlp.routes import add_to

__all__ = ["add_to"]
