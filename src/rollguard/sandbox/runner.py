"""Run a tool with one input after another, in the sandbox, and say how each run ended. Imports no other package."""

from __future__ import annotations

import sys
import types
from json import dumps, loads  # the tool may change the module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rollguard.sandbox import tool_file
    from rollguard.sandbox.json_form import json_of, kinds_of
elif __name__ == "runner":  # beside the program, as in `child`
    import tool_file
    from json_form import json_of, kinds_of
else:
    from rollguard.sandbox import tool_file
    from rollguard.sandbox.json_form import json_of, kinds_of

_SHOWN = 2_000  # characters of an error
RESULT_TOO_LARGE, RETURNED_FAILURE = "ResultTooLarge", "ReturnedFailure"


class Runner:
    """Runs a tool.

    Args:
        found: the tool.
        path: the path of its code.
        result_bytes: the longest result.
    """

    def __init__(self, found: tool_file.Found, path: str, result_bytes: int) -> None:
        self._invoke, self._is_failure = tool_file.by_name(found.function), found.is_failure
        self._path, self._result_bytes = path, result_bytes

    def answer(self, text: bytes) -> bytes:
        """Run the tool with the parameters, which are JSON, and return the answer: a word, a space and JSON."""
        try:
            try:
                given = loads(text)
                returned = self._invoke(**given)
                result = _complete(returned)
                written = json_of(result)
                seen = _seen(kinds_of(returned) | kinds_of(result), given, text)
                failure = self._failure(result, written)
            finally:
                _flush()
        except BaseException as error:  # noqa: BLE001 - the tool's own; it ends its run, not this process
            return b"raised " + self._raised(error)
        if len(written) > self._result_bytes:
            says = f"it returned {len(written):,} bytes, and {self._result_bytes:,} are allowed"
            return b"raised " + _said(RESULT_TOO_LARGE, says)
        if failure is not None:
            return b"raised " + _said(RETURNED_FAILURE, failure, result=written)
        return b"returned " + seen + b" " + written.encode()

    def _failure(self, result: Any, written: str) -> str | None:
        """Return why the tool's own check finds a result a failure, as it is recorded; None if it is none."""
        if self._is_failure is None:
            return None
        try:
            found = self._is_failure(result)
            failed = bool(found)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the tool's own
            return f"is_failure raised {tool_file.describe(error)}"
        if not failed:
            return None
        return str(found) if isinstance(found, str) else f"returned {written[:500]}"

    def _raised(self, error: BaseException) -> bytes:
        frame, traceback = None, error.__traceback__
        while traceback is not None:
            code = traceback.tb_frame.f_code
            file = code.co_filename
            if file == self._path or file.startswith(f"{self._path}/"):  # a package's
                frame = (code.co_name, traceback.tb_lineno, file[len(self._path) + 1 :])
            traceback = traceback.tb_next
        try:
            text = str(error)
        except (Exception, SystemExit) as second:  # noqa: BLE001 - the tool's own exception
            text = f"<{type(error).__name__}: str failed with {type(second).__name__}>"
        return _said(type(error).__name__, text, frame=frame)


def _said(kind: str, text: str, *, frame: tuple[str, int, str] | None = None, result: str | None = None) -> bytes:
    return dumps({"type": kind, "error": text[:_SHOWN], "frame": frame, "result": result}).encode()


def _seen(kinds: set[str], given: Any, text: bytes) -> bytes:
    """Return what JSON does not show of a call, without a space: the classes in its result, and a changed input."""
    try:
        changed = bool(dumps(given) != dumps(loads(text)))
    except Exception:  # noqa: BLE001 - it holds what the tool put in
        changed = True
    return dumps([sorted(kind.replace(" ", "_") for kind in kinds), changed], separators=(",", ":")).encode()


def _complete(result: Any) -> Any:
    """Return what a call comes to: await a coroutine, and read a stream to its end."""
    if isinstance(result, types.CoroutineType):
        import asyncio

        return asyncio.run(_awaited(result))
    if isinstance(result, types.GeneratorType):
        return list(result)
    if isinstance(result, types.AsyncGeneratorType):
        import asyncio

        return asyncio.run(_awaited(result))
    return result


async def _awaited(result: Any) -> Any:
    if isinstance(result, types.CoroutineType):
        result = await result
    if isinstance(result, types.AsyncGeneratorType):
        return [item async for item in result]
    return list(result) if isinstance(result, types.GeneratorType) else result


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (Exception, SystemExit):  # noqa: BLE001, S112 - a stream of the tool's own: its output is lost, no more
            continue


def know_hosts(addresses: dict[str, list[tuple[int, str]]]) -> None:
    """Answer names by these addresses, since there is no other way to ask for one here.

    Args:
        addresses: of each host, the family and the text of each address.
    """
    import socket

    literal = {address: [(family, address)] for of_host in addresses.values() for family, address in of_host}

    def getaddrinfo(host: Any, port: Any, family: int = 0, *_kind: Any, **_more: Any) -> list[Any]:
        name = host.decode("ascii") if isinstance(host, bytes) else str(host)
        known = addresses.get(name.lower().rstrip(".")) or literal.get(name)
        found = [each for each in known or () if family in (0, each[0])]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"{name} is none of the hosts that this tool may reach")
        number = int(port or 0)
        return [
            (
                of,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (text, number) if of == socket.AF_INET else (text, number, 0, 0),
            )
            for of, text in found
        ]

    socket.getaddrinfo = getaddrinfo
