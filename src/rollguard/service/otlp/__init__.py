"""Receive OpenTelemetry: spans and logs over OTLP/HTTP become executions of tools."""
