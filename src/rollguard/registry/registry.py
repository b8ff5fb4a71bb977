"""`ToolRegistry`: serve the live versions of a folder of tools, and record each call."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType
from typing import Any

from rollguard.model.file_access import FileAccess
from rollguard.model.given import checked_kind, checked_mapping
from rollguard.model.in_flight import CallInFlight
from rollguard.model.split import Router
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
from rollguard.registry.changing import Changing
from rollguard.registry.deploy.actuators import Actuator
from rollguard.registry.deploy.deployer import Deployer
from rollguard.registry.deploy.file_swap import FileSwap
from rollguard.registry.deploy.release import Releaser
from rollguard.registry.deploy.remote import Remote
from rollguard.registry.deploy.replica import Replica
from rollguard.registry.deploy.rolling import RollingOut
from rollguard.registry.folder.folder import Folder
from rollguard.registry.folder.readings import Readings
from rollguard.registry.folder.splits import Splits
from rollguard.registry.program import Program
from rollguard.registry.serve.json_schema import definition_of, definitions_of
from rollguard.registry.serve.live_function import live_function
from rollguard.registry.serve.live_tools import LiveTools
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.registry.serve.loader import LoadedTool
from rollguard.registry.serve.origins import Origins
from rollguard.registry.serve.served import judges_of
from rollguard.registry.serve.sharing import Sharing
from rollguard.registry.upkeep import Upkeep
from rollguard.store import ExecutionStore


class ToolRegistry(Changing, Upkeep):
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
        routers: for the name of a remote tool, what draws its calls while two versions of it serve.
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
        check_every: float = 0.02,
        follow: bool = True,
        adopt: bool = True,
        edit_seconds: float = 60.0,
        file_access: FileAccess = FileAccess.OWNER,
        routers: Mapping[str, Router] | None = None,
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
        self._splits = splits = Splits(self.folder.path, store, file_access, checked_mapping("routers", routers))
        self._replica: Replica | None = None
        if follow:
            served_anew = weakref.WeakMethod(self._live_tools.forget)
            self._replica = Replica(self.folder, store, remote.has, served_anew, splits)
            self._live_tools.before_check = self._replica.start
            origins.followed = self._replica.state
        self._deployer = Deployer(
            self.folder, store, self._file_swap, admission, remote, self._replica, splits.bring_quietly
        )
        self._releaser = Releaser(self.folder, store, self._file_swap, remote, self._replica, self._deployer)
        self.rolling = RollingOut(self.folder, store, self._deployer, remote, splits)
        load, unloadable = weakref.WeakMethod(self._live_tools.beside), weakref.WeakMethod(self.rolling.unloadable)
        self._live_tools.sharing = Sharing(splits, store, load, unloadable)
        self.program = Program(store, self._releaser)
        if splits.routers or not follow:  # nothing else tells this process
            splits.bring_quietly()
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
    def readings(self) -> Readings:
        """Return what the syntax trees of the files tell; each content is read once."""
        return self._live_tools.admission.readings

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
        subject, ran = (served.subject, served.version_number) if served.beside is None else served.beside.drawn()
        given = recorder.given(tool_name, subject.kept, parameters) if parameters else None
        return run(recorder, subject, ran, given, (), parameters, awaited_here)

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
        subject, ran = (served.subject, served.version_number) if served.beside is None else served.beside.drawn()
        given = self.recorder.given(tool_name, subject.kept, parameters) if parameters else None
        return Call(self.recorder, subject, ran, given)

    def failure_in(self, tool_name: str, tool: LoadedTool | None, result: Any) -> str | None:
        """Return why a returned result is a failure, with the result as it is stored; None if it is none."""
        return failure_in(tool_name, judges_of(tool_name, tool, self._failure_rules), self.recorder, result)

    def function(self, tool_name: str) -> Callable[..., Any]:
        """Return a function that calls the live version of a tool, to pass to an agent framework; see `live_function`.

        Raises:
            InvalidToolName, UnknownTool, ToolLoadError: as for `get_tool`.
        """
        return live_function(self.get_tool(tool_name), self.call, self.acall)

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
