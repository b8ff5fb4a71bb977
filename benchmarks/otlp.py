"""The receiver of OpenTelemetry: calls recorded a second, beside parsing the same bytes alone.

Each request has 512 spans, as the SDK's batches do: calls of tools with arguments, a result and a failure here and
there, and as many other spans as calls. Parsing alone reads the same bytes into spans with their attributes. A
minimal receiver parses, and inserts each span of a call as one row of a table without constraints, in one transaction
a request, as durably. Rollguard's receiver understands the spans, finds those that are one call, checks, redacts and
encodes what is recorded, stores each call once, counts it, and remembers the spans for what arrives late.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.databases import Plain, urls
from benchmarks.harness import Aim, Options, Result, medians, number, profile, ratio, seconds, versions
from rollguard import Rollguard
from rollguard.service.otlp import json_encoding, protobuf
from rollguard.service.otlp.receiver import Receiver
from rollguard.service.otlp.spans import Batch
from rollguard.settings import Settings
from tests.service.otlp.sending import TOOL, Sent, as_json, request

AIM = 0.5
_SPANS = 512
_DATABASES = ("SQLite", "PostgreSQL")
_READERS: dict[str, Callable[[bytes], Batch]] = {"protobuf": protobuf.traces, "JSON": json_encoding.traces}


def run(options: Options) -> Result:
    """Measure."""
    count = 2 if options.tiny else 80 if options.full else 20
    made = [_request(number) for number in range(count)]
    bodies = {"protobuf": [one.SerializeToString() for one in made], "JSON": [as_json(one) for one in made]}
    calls = count * _SPANS // 2
    result = Result(
        name="otlp",
        title="OpenTelemetry",
        about=__doc__ or "",
        columns=["", "calls/s", "of parsing alone", "of the minimal receiver"],
        notes=[
            f"{number(calls)} calls in {count} requests of {_SPANS} spans; one request after another.",
            "Parsing by the library alone builds protobuf's objects, and reads no value of theirs.",
            versions("protobuf", "opentelemetry-proto", "psycopg", "SQLAlchemy"),
        ],
    )
    with urls(*_DATABASES) as (make, servers):
        result.machine = servers
        for database in _DATABASES:
            for encoding, some in bodies.items():
                _measure(database, encoding, make(database), some, calls, options, result)
    return result


def _measure(
    database: str, encoding: str, url: str, bodies: list[bytes], calls: int, options: Options, result: Result
) -> None:
    read = _READERS[encoding]
    plain = Plain(url)
    with TemporaryDirectory() as folder, Rollguard(Settings(database=url, tools_dir=Path(folder))) as guard:
        receiver = Receiver(guard)
        now = datetime.now(UTC)

        def empty() -> None:
            keys = ("execution_keys",) if database == "PostgreSQL" else ()
            for table in ("tool_executions", "otlp_spans", "tool_execution_rollups", "tool_execution_deltas", *keys):
                plain.execute(f"{'TRUNCATE' if database == 'PostgreSQL' else 'DELETE FROM'} {table}")
            plain.execute("UPDATE rollup_state SET rolled_to = 0")
            plain.settle()

        def parse() -> float:
            return seconds(lambda: [read(body) for body in bodies])

        def build() -> float:
            return seconds(lambda: [ExportTraceServiceRequest.FromString(body) for body in bodies])

        def minimal() -> float:
            plain.execute(
                "CREATE TABLE IF NOT EXISTS minimal (trace TEXT, span TEXT, name TEXT, began BIGINT, said TEXT)"
            )
            mark = "?" if database == "SQLite" else "%s"
            insert = f"INSERT INTO minimal VALUES ({', '.join([mark] * 5)})"

            def receive() -> None:
                for body in bodies:
                    spans = read(body).spans
                    plain.many(
                        insert, [(s.trace_id, s.span_id, s.name, s.start, json.dumps(s.attributes)) for s in spans]
                    )

            took = seconds(receive)
            plain.execute("DROP TABLE minimal")
            return took

        def receive() -> None:
            for body in bodies:
                receiver.take_traces(read(body), lambda _tool: True, now)

        def ours() -> float:
            empty()
            took = seconds(receive)
            assert plain.ask("SELECT COUNT(*) FROM tool_executions")[0][0] == calls
            return took

        actions = {"parsing alone": parse, "a minimal receiver": minimal, "Rollguard": ours}
        if encoding == "protobuf":
            actions["parsing by the library alone"] = build
        took = medians(actions, options.runs)
        for name, time in took.items():
            if database == "SQLite" or not name.startswith("parsing"):
                where = encoding if name.startswith("parsing") else f"{database}, {encoding}"
                row = [f"{where}: {name}", number(calls / time), ratio(took["parsing alone"] / time)]
                result.rows.append([*row, ratio(took["a minimal receiver"] / time)])
        share = took["parsing alone"] / took["Rollguard"]
        text = f"{database}, {encoding}: at least {AIM} of the rate of parsing alone"
        said = None if share >= AIM else profile(lambda: (empty(), receive()))
        result.aims.append(Aim(text, f"{share:.2f}", share >= AIM, said))
    plain.close()


def _request(number: int) -> ExportTraceServiceRequest:
    chosen = random.Random(number)
    spans = []
    for place in range(_SPANS // 2):
        trace = f"{chosen.getrandbits(128):032x}"
        said = {
            **TOOL,
            "gen_ai.tool.name": f"tool_{place % 20}",
            "gen_ai.tool.call.id": f"call_{place}",
            "gen_ai.tool.call.arguments": json.dumps({"query": f"weather in city {place}", "days": place % 7}),
            "gen_ai.tool.call.result": json.dumps({"temperature": place / 7, "sky": "clear", "wind": [1, 2, 3]}),
            "gen_ai.agent.name": "assistant",
        }
        exception = ("TimeoutError", "no answer") if place % 50 == 0 else None
        spans.append(Sent(2 * place + 2, 2 * place + 1, said, trace=trace, exception=exception))
        chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 812}
        spans.append(Sent(2 * place + 3, 2 * place + 1, chat, trace=trace))
    return _together(request(spans))


def _together(made: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """The spans under one resource and scope, as one exporter sends them."""
    whole = ExportTraceServiceRequest()
    group = whole.resource_spans.add()
    group.resource.CopyFrom(made.resource_spans[0].resource)
    part = group.scope_spans.add()
    part.scope.CopyFrom(made.resource_spans[0].scope_spans[0].scope)
    part.spans.extend(one.scope_spans[0].spans[0] for one in made.resource_spans)
    return whole
