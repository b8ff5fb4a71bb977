"""`Client`: a service, for programs on other machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_json

from rollguard.client.answers import Deployed, LiveVersion
from rollguard.client.connection import Connection
from rollguard.client.sink import RemoteStore
from rollguard.model.file_access import FileAccess
from rollguard.model.redaction import DEFAULT, Redaction
from rollguard.model.rollback import Rollback
from rollguard.model.version import Deployment
from rollguard.record import Recorder, Spool
from rollguard.store import Payloads, Redact

if TYPE_CHECKING:
    import httpx2

    from rollguard.client.serving import Serving

F = TypeVar("F", bound=Callable[..., Any])


class Client:
    """A service, for programs on other machines.

    Calls are recorded as by a local recorder: the caller appends to a buffer, and a thread sends batches. While the
    service is away they wait in the spool, a file. Nothing is lost, and nothing is stored twice.

    Args:
        url: the service's, as `https://tools.example.com/rollguard`.
        token: a secret of `rollguard token create`: with the scope `ingest` to record, `read` to read and to serve what
            is live, and `operate` to deploy and roll back. None for a service on this machine that has no token.
        folder: where the spool and the code of live versions are kept; by default `.rollguard` in the working folder.
        timeout: seconds to wait for each part of an answer.
        durable: True sends every execution before its call returns.
        flush_interval: seconds that an execution waits at most before it is sent.
        buffer_size: executions that wait in memory at most; further ones go to the spool.
        store_payloads: False sends no parameters and no results.
        payload_limit: the largest JSON, in bytes, of parameters or a result that is sent whole.
        redact: called as `redact(tool_name, "parameters" or "result", value)`; what it returns is sent.
        redaction: which names and texts are secrets. They are replaced before they leave this process.
        compress: whether bodies are compressed.
        file_access: who may read the folder.
        transport: what sends requests, instead of the network.

    Attributes:
        recorder: records calls; see `rollguard.record.Recorder`.

    Raises:
        InvalidInput: a value is invalid.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        folder: str | os.PathLike[str] = ".rollguard",
        timeout: float = 10.0,
        durable: bool = False,
        flush_interval: float = 0.1,
        buffer_size: int = 50_000,
        store_payloads: bool = True,
        payload_limit: int = 16_384,
        redact: Redact | None = None,
        redaction: Redaction = DEFAULT,
        compress: bool = True,
        file_access: FileAccess = FileAccess.OWNER,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(url, token, timeout=timeout, compress=compress, transport=transport)
        self._folder, self._access = Path(folder).absolute(), file_access
        self._sink = RemoteStore(self._connection, Payloads(store_payloads, payload_limit, redact, redaction))
        self.recorder = Recorder(
            self._sink,
            Spool(self._folder / "spool.jsonl", access=file_access),
            durable=durable,
            flush_interval=flush_interval,
            buffer_size=buffer_size,
        )

    # --- recording -------------------------------------------------------------------------------------------------

    def tool(self, function: F | None = None, /, **options: Any) -> Any:
        """Return `@rollguard.tool` for a function of your program: its calls are recorded in the service.

        Args:
            options: those of `rollguard.tool`, without `store` and `recorder`.

        Raises:
            InvalidInput: a value is invalid.
        """
        from rollguard.record.decorator import tool

        marking = tool(recorder=self.recorder, **options)
        return marking if function is None else marking(function)

    def record(self, **execution: Any) -> None:
        """Record one execution, with the arguments of `ExecutionStore.store_tool_execution`. Raise nothing."""
        self.recorder.record(**execution)

    def flush(self) -> int:
        """Send what waits in the buffer and in the spool, and return how many executions waited.

        Raises:
            StoreUnavailable: the service is away; every execution is kept.
        """
        return self.recorder.flush()

    # --- serving ---------------------------------------------------------------------------------------------------

    def call(self, tool_name: str, /, **parameters: Any) -> Any:
        """Run the version of a tool that is live in the service, here, and record the call.

        Of an async tool it returns what you await.

        Raises:
            UnknownTool: the service has no live version of it.
            ToolLoadError: no version of it can be loaded here.
            StoreUnavailable: the service is away, and was so when this process first asked.
            Exception: the tool's own exception, unchanged; recorded as a failed execution.
        """
        return self._serving.function(tool_name)(**parameters)

    def live(self) -> dict[str, LiveVersion]:
        """Return what is live of each tool; a change arrives within a second.

        Raises:
            StoreUnavailable: the service is away, and was so when this process first asked.
        """
        return self._serving.live()

    @cached_property
    def _serving(self) -> Serving:
        from rollguard.client.serving import Serving

        return Serving(self._connection, self.recorder, self._folder / "live", self._access)

    # --- asking and acting -----------------------------------------------------------------------------------------

    def deploy(self, tool_name: str, code: str, *, reason: str | None = None, **options: bool) -> Deployed:
        """Make code the live version of a tool in the service, and monitor it.

        Args:
            options: `force`, `strict`, `watch`, `already_live` and `rehearse`, as for `Rollguard.deploy`.

        Raises:
            StoreUnavailable, ServiceRefused: the service is away, or refuses the token.
            The same errors as `Rollguard.deploy`.
        """
        body = {"tool_name": tool_name, "code": code, "reason": reason, **options}
        return TypeAdapter(Deployed).validate_python(self.post("deployments", body))

    def roll_back(
        self, tool_name: str, *, reason: str, to_version: int | str | None = None, quarantine: bool = False
    ) -> Rollback:
        """Restore an earlier version of a tool in the service; see `DeploymentMonitor.roll_back`."""
        body = {"tool_name": tool_name, "reason": reason, "to_version": to_version, "quarantine": quarantine}
        return TypeAdapter(Rollback).validate_python(self.post("rollbacks", body))

    def deployments(self, tool_name: str | None = None) -> Iterator[Deployment]:
        """Yield deployments, newest first."""
        return map(TypeAdapter(Deployment).validate_python, self.pages("deployments", tool=tool_name))

    def rollbacks(self, tool_name: str | None = None, *, since: datetime | None = None) -> Iterator[Rollback]:
        """Yield rollbacks, newest first."""
        found = self.pages("rollbacks", tool=tool_name, since=None if since is None else since.astimezone().isoformat())
        return map(TypeAdapter(Rollback).validate_python, found)

    def explain(self, session_id: int) -> dict[str, Any]:
        """Return why a deployment was, or was not, rolled back."""
        found: dict[str, Any] = self.get(f"sessions/{session_id}/explain")
        return found

    def get(self, path: str, **parameters: Any) -> Any:
        """Return what the API answers below `/api/v1/`, such as `get("stability")`. What is recorded is sent first.

        Raises:
            StoreUnavailable: the service is away.
            ServiceRefused, or the error that the service names: it refuses the request.
        """
        self._sink.database.read()
        return self._connection.json(self._connection.request("GET", f"api/v1/{path}", params=parameters))

    def pages(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages of a list, such as `pages("sessions", tool="weather")`."""
        cursor: str | None = None
        while True:
            page = self.get(path, **parameters, cursor=cursor)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a body below `/api/v1/`, and return the answer. The errors are those of `get`."""
        self._sink.database.read()
        response = self._connection.request("POST", f"api/v1/{path}", content=to_json(dict(body)))
        return self._connection.json(response)

    def close(self) -> None:
        """Send what was recorded, and close the connections. What the service did not get stays in the spool."""
        if "_serving" in self.__dict__:
            self._serving.close()
        self.recorder.empty()
        self._sink.database.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
