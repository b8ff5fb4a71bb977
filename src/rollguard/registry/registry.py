"""`ToolRegistry`: serve the live versions of a folder of tools, and record each call."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import CoroutineType
from typing import Any

from rollguard.compat import Change
from rollguard.model.file_access import FileAccess
from rollguard.model.given import checked_kind, checked_mapping
from rollguard.model.in_flight import CallInFlight
from rollguard.model.version import Version
from rollguard.record import Recorder, Spool
from rollguard.record.call import (
    Call,
    IsFailure,
    awaited_here,
    failure_in,
    in_event_loop,
    needs_acall,
    run,
    run_in_thread,
)
from rollguard.record.call_marks import CallMarks
from rollguard.record.endings import CONTROL_FLOW
from rollguard.record.streams import is_stream, recorded_stream
from rollguard.registry.deploy.actuators import Actuator
from rollguard.registry.deploy.compat_check import changes_of, live_code
from rollguard.registry.deploy.deployer import Code, Deployer, bytes_of
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.registry.deploy.file_swap import FileSwap
from rollguard.registry.deploy.remote import Remote
from rollguard.registry.deploy.replica import Replica
from rollguard.registry.folder.file_names import checked_file_name
from rollguard.registry.folder.folder import Folder
from rollguard.registry.serve.json_schema import definition_of, definitions_of
from rollguard.registry.serve.live_function import live_function
from rollguard.registry.serve.live_tools import LiveTools
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.registry.serve.loader import LoadedTool
from rollguard.registry.serve.origins import Origins
from rollguard.registry.serve.served import judges_of
from rollguard.registry.upkeep import Upkeep
from rollguard.store import Beginning, ExecutionStore


class ToolRegistry(Upkeep):
    """A folder of tools, one Python file each.

    A file holds a function named like the file or marked `@tool`, or a class with `execute` and
    `get_tool_definition`. A file without a version becomes version 1 when the registry first finds it, so that you can
    restore code from before Rollguard. The process that swaps a version in serves it from the next call on. Other
    processes of the machine serve it after `check_every` seconds at most, like a file edited by hand. Calls in flight
    finish on the version with which they began.

    Args:
        path: the folder; created if it does not exist.
        store: holds versions and executions.
        failure_rules: for a tool's name, which returned results count as failures.
        timeouts: for a tool's name, the seconds after which its calls count as failed, instead of what `@tool` says.
        control_flow: exceptions that are neither success nor failure; see `Recorder`.
        spool: where executions wait while the database is away; by default a file in the folder.
        durable: True writes every execution to the disk before its call returns.
        spool_fsync: whether executions in the spool are on the disk before the call continues; see `Spool`.
        flush_interval: seconds that an execution waits at most before it is stored, unless `durable`.
        buffer_size: executions that wait in memory at most; further ones wait in the spool.
        actuators: for the name of a remote tool, the actuator that makes its versions live.
        check_every: seconds after which a call checks its tool's file for changes of others; 0 checks at each call.
        follow: whether deployments and rollbacks on another machine, with another folder, are written into this folder
            too, within a second. It begins with the first call.
        adopt: False for a program that only reads: opening changes neither the folder nor the database. True adopts
            files without a version, settles interrupted swaps and stores the spool.
        edit_seconds: a file that is saved again within so many seconds is still the same edit, with one session.
        file_access: who may read the spool and the state in the folder; tools' files are the user's own.
        clock: the monotonic clock for `check_every`, in seconds.

    Raises:
        InvalidInput: `check_every` or `edit_seconds` is not a number of seconds.
        ToolFileError: the folder cannot be used.
        StoreUnavailable: the database cannot be reached.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        store: ExecutionStore,
        *,
        failure_rules: Mapping[str, IsFailure] | None = None,
        timeouts: Mapping[str, float] | None = None,
        control_flow: Sequence[str] = CONTROL_FLOW,
        spool: Spool | None = None,
        durable: bool = False,
        spool_fsync: bool = True,
        flush_interval: float = 0.1,
        buffer_size: int = 50_000,
        actuators: Mapping[str, Actuator] | None = None,
        check_every: float = 0.05,
        follow: bool = True,
        adopt: bool = True,
        edit_seconds: float = 60.0,
        file_access: FileAccess = FileAccess.OWNER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.folder = Folder(path, access=file_access)
        self.recorder = Recorder(
            store,
            checked_kind("spool", spool, Spool)
            or Spool(self.folder.path / ".rollguard" / "spool.jsonl", fsync=spool_fsync, access=file_access),
            durable=durable,
            flush_interval=flush_interval,
            buffer_size=buffer_size,
            control_flow=control_flow,
        )
        self._failure_rules = checked_mapping("failure_rules", failure_rules)
        self.remote = remote = Remote(store, checked_mapping("actuators", actuators))
        self._marks = marks = CallMarks(self.folder.path / ".rollguard" / "calls", file_access)
        self.recorder.settle = marks.settle
        checks = LoadChecks(self.folder.path, writes=adopt, access=file_access)
        origins = Origins(
            self.folder,
            store,
            writes=adopt,
            edit_seconds=edit_seconds,
            is_remote=remote.has,
        )
        self._live_tools = LiveTools(
            self.folder,
            store,
            self._failure_rules,
            timeouts,
            check_every=check_every,
            clock=clock,
            checks=checks,
            marks=marks,
            origins=origins,
            define=self.recorder.define,
        )
        self._file_swap, admission = FileSwap(self.folder, store, self._live_tools), self._live_tools.admission
        self._replica: Replica | None = None
        if follow:
            served_anew = weakref.WeakMethod(self._live_tools.forget)
            self._replica = Replica(self.folder, store, remote.has, served_anew)
            self._live_tools.before_check = self._replica.start
            origins.followed = self._replica.state
        self._deployer = Deployer(self.folder, store, self._file_swap, admission, remote, self._replica)
        if adopt:
            store.database.when_replaced(self._deployer.bring_back)
            self.folder.remove_leftovers()
            self._deployer.adopt_all()
            self.collect_ended_calls()
            self.recorder.deliver([])

    # --- reading ---------------------------------------------------------------------------------------------------

    @property
    def problems(self) -> dict[str, str]:
        """Return why files of the folder are not served as they are now, by tool name. No file is run for it."""
        return self._live_tools.problems()

    @property
    def descriptions(self) -> dict[str, tuple[str, str | None]]:
        """Return the hash and the description of each file that may be a tool, by name. No file is run."""
        return self._live_tools.admission.descriptions()

    @property
    def behind(self) -> dict[str, str]:
        """Return why files do not have the live version of another machine yet, by tool name. Empty if all have it."""
        return self._replica.behind if self._replica is not None else {}

    def get_tool(self, tool_name: str) -> LoadedTool:
        """Return the tool as it is on disk now. Its code runs in this process, after it loaded in a child process.

        Raises:
            InvalidToolName: no file can have that name.
            UnknownTool: there is no such file.
            ToolLoadError: the file cannot be turned into a tool.
        """
        return self._live_tools.current(tool_name).on_disk()

    def get_all_tools(self) -> dict[str, LoadedTool]:
        """Return every tool that can be served, by name, as it is on disk now. The others are in `problems`.

        Files that were not checked on this machine yet are checked first; see `get_tool`.
        """
        return self._live_tools.load_all()

    def get_tool_definition(self, tool_name: str) -> dict[str, Any]:
        """Return the tool's definition for a model: name, description and the JSON Schema of its parameters.

        Raises:
            UnknownTool, ToolLoadError: as for `get_tool`; also when the tool's own definition fails.
        """
        return definition_of(self.get_tool(tool_name))

    def get_tool_definitions(self) -> list[dict[str, Any]]:
        """Return the definitions of all tools that can be served. A definition that fails is logged and omitted."""
        return definitions_of(self.get_all_tools())

    def refresh(self) -> dict[str, str]:
        """Look at every file again, and adopt those that have no version yet. No file is run, and nobody waits.

        A file that did not load is tried again at its next use. New code of a tool that this process serves is checked
        in a child process, in the background. It returns `problems`.

        Raises:
            ToolFileError: the folder cannot be read.
        """
        self._deployer.adopt_all()
        if self._replica is not None:
            self._replica.start()
        self._live_tools.refresh()
        return self.problems

    # --- calling ---------------------------------------------------------------------------------------------------

    def call(self, tool_name: str, /, **parameters: Any) -> Any:
        """Run the live version of a tool, record the execution, and return the tool's result.

        What a tool streams, as a generator or an async iterator, is recorded when the stream ends.

        An async tool runs in an event loop of its own.

        Raises:
            UnknownTool, InvalidToolName: there is no such tool; nothing is recorded.
            ToolLoadError: its file cannot be loaded; recorded as a failed execution.
            RuntimeError: the tool is async and an event loop is running; use `await registry.acall(...)`.
            Exception: the tool's own exception, unchanged; recorded as a failed execution.
        """
        served = self._live_tools.serve(tool_name)
        if served.subject.is_async and in_event_loop():
            raise needs_acall(tool_name)
        recorder = self.recorder
        given = recorder.given(tool_name, served.subject.kept, parameters) if parameters else None
        return run(recorder, served.subject, served.version_number, given, (), parameters, awaited_here)

    async def acall(self, tool_name: str, /, **parameters: Any) -> Any:
        """Call a tool from async code: an async tool is awaited, any other runs in a thread. Same errors as `call`.

        A call that is cancelled is recorded as given up by its caller: see docs/recording.md.
        """
        call = await asyncio.to_thread(self._begin, tool_name, parameters)
        call.begin()
        try:
            subject = call.subject
            if subject.is_async:
                result = await subject.invoke(**parameters)
            else:
                result, raised = await run_in_thread(subject.invoke, parameters)
                if raised is not None:
                    raise raised
                if isinstance(result, CoroutineType):
                    result = await result
        except (Exception, SystemExit) as error:
            await asyncio.to_thread(call.failed, error, call.elapsed_ms())
            raise
        except BaseException as error:  # in this thread: what is cancelled cannot wait for another one
            call.failed(error)
            raise
        if is_stream(result):
            call.land()
            return recorded_stream(call, result)
        await asyncio.to_thread(call.returned, result, call.elapsed_ms())
        return result

    def _begin(self, tool_name: str, parameters: dict[str, Any]) -> Call:
        served = self._live_tools.serve(tool_name)
        given = self.recorder.given(tool_name, served.subject.kept, parameters) if parameters else None
        return Call(self.recorder, served.subject, served.version_number, given)

    def failure_in(self, tool_name: str, tool: LoadedTool | None, result: Any) -> str | None:
        """Return why a returned result is a failure, with the result as it is stored; None if it is none."""
        return failure_in(tool_name, judges_of(tool_name, tool, self._failure_rules), self.recorder, result)

    def function(self, tool_name: str) -> Callable[..., Any]:
        """Return a function that calls the live version of a tool, to pass to an agent framework; see `live_function`.

        Raises:
            InvalidToolName, UnknownTool, ToolLoadError: as for `get_tool`.
        """
        return live_function(self.get_tool(tool_name), self.call, self.acall)

    # --- changing --------------------------------------------------------------------------------------------------

    def deploy(
        self,
        tool_name: str,
        code: str | bytes,
        *,
        created_by: str = "human",
        reason: str | None = None,
        kind: str | None = None,
        deployed_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: Beginning | None = None,
    ) -> int:
        """Store `code` as a version of the tool and make it live. Breaking changes are logged as warnings.

        Code that cannot be loaded is refused and changes nothing. Code that is live already stays live: it is not
        deployed again, and its session continues. A session of the version before becomes `superseded`. An actuator
        deploys its own tool, whose code may be anything that the actuator understands.

        Args:
            tool_name: at most 128 letters, digits, '_', '-', '.' and '/'.
            code: the file's whole content.
            created_by: who wrote it.
            reason: why.
            kind: initial, bugfix, enhancement, improvement or rollback; by default initial for the first, else
                improvement.
            deployed_at: when it went live; now by default.
            force: True deploys code although it was rolled back, and lifts its quarantine.
            strict: True refuses code that breaks callers; see `changes`.
            watch: starts monitoring in the transaction that makes the version live; see `DeploymentMonitor.watch`.

        Returns:
            The version's number.

        Raises:
            InvalidToolName, InvalidInput: a value is invalid.
            CodeQuarantined: the code was rolled back, and `force` is False.
            ActuatorFailed: the tool's actuator did not acknowledge; the next cycle restores the live version.
            ToolLoadError: the code is not a tool that can be loaded.
            BreakingChange: `strict` is True, and the code breaks callers; nothing was changed.
            ToolFileError: the file cannot be written; the version is stored, but not live.
            DeploymentConflict: another deployment at the same moment came first.
            StoreUnavailable: the database cannot be reached or written; nothing was changed.
        """
        request = DeploymentRequest(created_by, reason, deployed_at, force, watch)
        return self._deployer.deploy(Code.of(tool_name, code, kind), request, strict=strict).version_number

    def keep(
        self,
        tool_name: str,
        code: str | bytes,
        *,
        created_by: str = "human",
        reason: str | None = None,
        kind: str | None = None,
        parent_version: int | None = None,
    ) -> Version:
        """Store `code` as a version of the tool without making it live, and return the version.

        It is based on `parent_version`, by default the live one. Code that is stored already is returned unchanged.

        Raises:
            InvalidToolName, InvalidInput, ToolLoadError, StoreUnavailable: as for `deploy`.
            UnknownVersion: there is no such parent.
        """
        return self._deployer.keep(
            Code.of(tool_name, code, kind, parent_version), DeploymentRequest(created_by, reason)
        )

    def changes(self, tool_name: str, code: str | bytes) -> tuple[Change, ...]:
        """Return what callers notice if `code` replaces the tool's file, breaking changes first. It runs nothing."""
        return changes_of(self.folder, self.store, checked_file_name(tool_name), bytes_of(code))

    def live_code(self, tool_name: str) -> bytes | None:
        """Return the code of a tool that is served now, edited by hand or not; None if there is none."""
        return live_code(self.folder, self.store, checked_file_name(tool_name))

    def note_deployment(
        self,
        tool_name: str,
        code: str | bytes,
        *,
        created_by: str = "human",
        reason: str | None = None,
        kind: str | None = None,
        deployed_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: Beginning | None = None,
    ) -> int:
        """Record code that something else deployed to the target as the tool's live version, to monitor it.

        Only the database changes. If a later version regresses, the tool's actuator rolls back to this one.
        The parameters and the result are those of `deploy`.

        Raises:
            InvalidToolName, InvalidInput: a value is invalid, or the tool is in the folder.
            BreakingChange, CodeQuarantined, DeploymentConflict, StoreUnavailable: as for `deploy`.
        """
        request = DeploymentRequest(created_by, reason, deployed_at, force, watch)
        return self._deployer.note(Code.of(tool_name, code, kind), request, strict=strict).version_number

    def restore(
        self,
        tool_name: str,
        version_number: int,
        *,
        restored_by: str = "human",
        reason: str | None = None,
        force: bool = False,
    ) -> None:
        """Make a stored version live again, in its file and in the database.

        Raises:
            InvalidToolName, InvalidInput: a value is invalid.
            UnknownVersion: there is no version of that number.
            CodeQuarantined, ActuatorFailed, ToolFileError, DeploymentConflict, StoreUnavailable: as for `deploy`.
        """
        request = DeploymentRequest(restored_by, reason, force=force)
        self._deployer.go_live(self.store.versions.get(checked_file_name(tool_name), version_number), request)

    def calls_in_flight(self) -> list[CallInFlight]:
        """Return the calls of this process that began and have not ended, the oldest first.

        `store.in_flight.all()` returns those of all processes that run for some seconds.
        """
        return self.recorder.calls_in_flight()

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop following other machines, and store recorded executions. The next call starts again."""
        if self._replica is not None:
            self._replica.stop()
        self._marks.close()
        self.recorder.empty()
