"""Serve what is live in a service: follow it, load each version once, and go on while the service is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rollguard.client.answers import LiveRollout, LiveVersion
from rollguard.client.connection import Connection
from rollguard.compat import place_of
from rollguard.errors import RollguardError, ToolLoadError, UnknownTool
from rollguard.model.file_access import FileAccess
from rollguard.model.log import EXITS, described, logger_of
from rollguard.model.split import Draws, Split
from rollguard.record import Recorder
from rollguard.record.fork_safety import renew_after_fork
from rollguard.record.instrument import self_recording
from rollguard.registry.folder.file_names import stem_of
from rollguard.registry.serve.loader import LoadedTool, load
from rollguard.sandbox import check_tool
from rollguard.store import digest

logger = logger_of(__name__)

_WAIT = 30.0  # seconds that one request waits for a change
_MORE = 10.0  # seconds that its answer may take beyond that
_FIRST_PAUSE, _LAST_PAUSE = 0.5, 30.0  # seconds before the next request after an error
_KEPT = 3  # loaded versions of a tool, at most
_LIVE = TypeAdapter(list[LiveVersion])


@dataclass(frozen=True, slots=True)
class _Serving:
    version: LiveVersion
    call: Callable[..., Any]


class Serving:
    """The live tools of a service, served in this process.

    A thread waits for changes, which arrive within a second. A version's code runs here only after it loaded in a child
    process; until then, and if it does not load, the version before is served. The folder keeps what is live, so that
    a process that starts while the service is away serves it.

    Args:
        connection: the service.
        recorder: records the calls.
        folder: keeps the code.
        access: who may read the folder.
    """

    def __init__(
        self, connection: Connection, recorder: Recorder, folder: Path, access: FileAccess = FileAccess.OWNER
    ) -> None:
        self._connection, self._recorder, self._folder, self._access = connection, recorder, folder, access
        self._served: dict[str, _Serving] = {}
        self._live: dict[str, LiveVersion] = {}
        self._tag: str | None = None
        self._tools: dict[tuple[str, str], LoadedTool] = {}
        self._draws: dict[str, tuple[int, Draws]] = {}
        self._over = threading.Event()
        self.begin_anew()
        renew_after_fork(self, "_turn", threading.Lock)
        renew_after_fork(self, "_thread", lambda: None)

    def begin_anew(self) -> None:
        """Begin without a thread; the next call starts one."""
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None

    def function(self, tool_name: str) -> Callable[..., Any]:
        """Return what a call of the live version runs; it records the call. Of an async tool, it is async.

        Raises:
            UnknownTool: the service has no live version of it.
            ToolLoadError: no version of it can be loaded here.
            StoreUnavailable: nothing is known yet, and the service is away.
        """
        if self._thread is None:
            self._start()
        served = self._served.get(tool_name)
        if served is None or self._live.get(tool_name) is not served.version:
            served = self._load(tool_name)
        return served.call

    def live(self) -> dict[str, LiveVersion]:
        """Return what is live of each tool, as far as this process knows."""
        if self._thread is None:
            self._start()
        return dict(self._live)

    def close(self) -> None:
        """Stop following."""
        self._over.set()

    # --- following -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._turn:
            if self._thread is not None:
                return
            try:
                self._ask(0.0)
            except RollguardError:
                if not self._live and not self._recall():
                    raise
                logger.warning("the service is away, so what was live at last is served")
            if not self._over.is_set():
                self._thread = threading.Thread(target=self._follow, name="rollguard-client", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        pause = _FIRST_PAUSE
        while not self._over.is_set():
            try:
                self._ask(_WAIT)
                for name, version in list(self._live.items()):  # those in use, before the next call
                    if name in self._served and self._served[name].version is not version:
                        self._load(name)
            except EXITS:
                raise
            except BaseException as error:  # noqa: BLE001 - it goes on after any error
                logger.warning("what is live is asked again in %g s: %s", pause, described(error))
                self._over.wait(pause)
                pause = min(_LAST_PAUSE, 2 * pause)
            else:
                pause = _FIRST_PAUSE

    def _ask(self, wait: float) -> None:
        headers = {} if self._tag is None else {"If-None-Match": f'"{self._tag}"'}
        params = {"wait": wait} if self._tag is not None and wait else {}
        response = self._connection.answer(
            self._connection.request("GET", "api/v1/live", params=params, headers=headers, timeout=wait + _MORE)
        )
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return
        found = {one.tool_name: one for one in _LIVE.validate_python(response.json()["tools"])}
        self._live = {name: one if self._live.get(name) != one else self._live[name] for name, one in found.items()}
        self._tag = response.headers.get("etag", "").strip('"') or None
        self._remember()

    # --- loading ---------------------------------------------------------------------------------------------------

    def _load(self, tool_name: str) -> _Serving:
        with self._turn:
            version, served = self._live.get(tool_name), self._served.get(tool_name)
            if version is None:
                self._served.pop(tool_name, None)
                raise UnknownTool(f"{tool_name} has no live version in the service; deploy one, or check the name")
            if served is not None and served.version is version:
                return served
            try:
                call = self._loaded(version)
            except RollguardError as error:
                if served is None:
                    raise
                said = "%s: version %d is live and cannot be served here, so the one before still is: %s"
                logger.error(said, tool_name, version.version_number, error)
                call = served.call  # it records the version that it runs
            self._served[tool_name] = made = _Serving(version, call)
            return made

    def _loaded(self, version: LiveVersion) -> Callable[..., Any]:
        name, rollout = version.tool_name, version.rollout
        live = self._tool(name, version.version_number, version.sha256)
        if rollout is not None:
            try:
                old = self._tool(name, rollout.old_version, rollout.old_sha256)
                new = self._tool(name, rollout.new_version, rollout.new_sha256)
                return self._recording(name, rollout.new_version, new, (self._draws_of(name, rollout), old.function))
            except ToolLoadError as error:
                logger.error("%s: version %d serves alone here: %s", name, version.version_number, error)
        self._draws.pop(name, None)
        return self._recording(name, version.version_number, live)

    def _recording(
        self, name: str, number: int, tool: LoadedTool, beside: tuple[Draws, Callable[..., Any]] | None = None
    ) -> Callable[..., Any]:
        judges = () if tool.is_failure is None else (tool.is_failure,)
        return self_recording(
            tool.function, self._recorder, name=name, version=number, judges=judges, mark=tool.mark, beside=beside
        )

    def _draws_of(self, name: str, rollout: LiveRollout) -> Draws:
        """Return what draws the calls of a rollout, the same one for all of its stages."""
        known, draws = self._draws.get(name, (0, Draws()))
        if known != rollout.rollout_id:
            draws = Draws()
        numbers = rollout.rollout_id, rollout.old_version, rollout.new_version, rollout.stage
        draws.use_split(name, Split(*numbers, rollout.share, bytes.fromhex(rollout.key)))
        self._draws[name] = rollout.rollout_id, draws
        return draws

    def _tool(self, name: str, number: int, sha256: str) -> LoadedTool:
        """Return a version that loaded in a child process first; the latest few are kept."""
        kept = self._tools.get((name, sha256))
        if kept is not None:
            return kept
        unit = name.rpartition("/")[0] or name  # the tools of a package run from one path, and share its modules
        path = self._folder / f"{stem_of(unit)}-{sha256[:12]}.py"
        code = self._code(name, number, sha256, path)
        place = place_of(code, name)
        checked = check_tool(place.exported, place.files or code, path)
        if not checked.loads:
            raise ToolLoadError(f"{name}, version {number}: {checked.error}")
        loaded = load(name, code, path, sha256)
        own = [key for key in self._tools if key[0] == name]
        for key in own[: 1 - _KEPT]:
            del self._tools[key]
        self._tools[name, sha256] = loaded
        return loaded

    def _code(self, name: str, number: int, sha256: str, path: Path) -> bytes:
        try:
            kept = path.read_bytes()
        except OSError:
            kept = b""
        if digest(kept) == sha256:
            return kept
        wanted = {"tool": name, "version": number}
        code = self._connection.answer(self._connection.request("GET", "api/v1/code", params=wanted)).content
        if digest(code) != sha256:
            said = "the service sent other code than its hash says; nothing of it is run"
            raise ToolLoadError(f"{name}, version {number}: {said}")
        self._write(path, code)
        return code

    # --- the folder ------------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        self._write(self._folder / "live.json", _LIVE.dump_json(list(self._live.values())))

    def _recall(self) -> bool:
        """Take what was live at last from the folder, and return whether there was anything."""
        try:
            kept = _LIVE.validate_json((self._folder / "live.json").read_bytes())
        except (OSError, ValueError):
            return False
        self._live = {one.tool_name: one for one in kept}
        return bool(kept)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            self._access.make_folder(self._folder)
            self._access.write_whole(path, content)
        except OSError as error:  # it is served all the same
            logger.warning("%s cannot be written, so this process alone knows it: %s", path, error)
