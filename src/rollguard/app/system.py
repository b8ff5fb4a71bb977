"""`Rollguard`: the whole system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from rollguard.app.deployed import Deployed
from rollguard.app.improving import Improving
from rollguard.app.parts import actuators_of, notifiers_of, redact_of
from rollguard.errors import InvalidInput
from rollguard.model import own_spans
from rollguard.settings import Settings
from rollguard.store import ExecutionStore

if TYPE_CHECKING:  # a command that only reads needs few of the parts, and starts sooner without the others
    from rollguard.monitor.deployment_monitor import DeploymentMonitor
    from rollguard.registry import IsFailure, Released, Synced, ToolRegistry, VersionNumber
    from rollguard.versions.version_manager import ToolVersionManager

F = TypeVar("F", bound=Callable[..., Any])


class Rollguard(Improving):
    """The whole system.

    Args:
        settings: all settings; `from_settings` reads them from `rollguard.toml` and the environment.
        adopt: False for a program that only reads; see `ToolRegistry`.
        must_answer: True raises `StoreUnavailable` if the database is away. By default tools are served meanwhile, and
            their calls wait in the spool.

    Attributes:
        store, registry, monitor, loop, versions, rehearser, investigator, briefer, improvers: the parts; you can use
            each on its own.
    """

    def __init__(self, settings: Settings, *, adopt: bool = True, must_answer: bool = False) -> None:
        self.settings = settings
        if settings.otlp.own_spans:
            from rollguard import __version__

            own_spans.enable(__version__)
        self.store = ExecutionStore(
            settings.database,
            store_payloads=settings.record.store_payloads,
            payload_limit=settings.record.payload_limit,
            redact=redact_of(settings),
            redaction=settings.record.redact.redaction(),
            busy_timeout=settings.record.busy_timeout_seconds,
            retention_days=settings.record.retention_days,
            amend_within_seconds=settings.record.amend_within_seconds,
            file_access=settings.file_access,
            must_answer=must_answer,
            schema=settings.schema,
        )
        self._adopt = adopt
        if adopt:  # a program that serves learns at once what is wrong with its settings and its folder
            try:
                _ = self.registry, self.monitor, self.loop_of(improve=False), self.versions
            except BaseException:
                self.store.close()
                raise

    @cached_property
    def registry(self) -> ToolRegistry:
        """The tools of the folder."""
        from rollguard.registry import ToolRegistry

        settings = self.settings
        return ToolRegistry(
            settings.tools_dir,
            store=self.store,
            failure_rules=settings.failure_rules,
            timeouts=settings.timeouts,
            control_flow=settings.record.control_flow,
            durable=settings.record.durable,
            spool_fsync=settings.record.spool_fsync,
            flush_interval=settings.record.flush_interval_seconds,
            buffer_size=settings.record.buffer_size,
            actuators=actuators_of(settings),
            follow=settings.follow,
            adopt=self._adopt,
            edit_seconds=settings.edit_seconds,
            file_access=settings.file_access,
        )

    @cached_property
    def monitor(self) -> DeploymentMonitor:
        """What checks deployments and rolls them back."""
        from rollguard.monitor.deployment_monitor import DeploymentMonitor

        settings = self.settings
        return DeploymentMonitor(
            execution_store=self.store,
            tool_registry=self.registry,
            **settings.monitor.to_dict(),
            tool_overrides=settings.tools,
            notifiers=notifiers_of(settings),
            notify_parameters=settings.notify.parameters,
        )

    @cached_property
    def versions(self) -> ToolVersionManager:
        """The versions of the tools."""
        from rollguard.versions.version_manager import ToolVersionManager

        return ToolVersionManager(self.store, self.registry)

    @classmethod
    def from_settings(
        cls, path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Return the system that `rollguard.toml` and the environment describe. See `Settings.load`.

        Raises:
            InvalidSetting: a key is unknown or a value is invalid.
            StoreError: the database is there, and cannot be used.
            ToolFileError: the folder of tools cannot be used.
        """
        return cls(Settings.load(path, environ))

    def deploy(
        self,
        tool_name: str,
        code: str | bytes | os.PathLike[str],
        *,
        reason: str | None = None,
        created_by: str = "human",
        kind: str | None = None,
        deployed_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: bool = True,
        already_live: bool = False,
        rehearse: bool = False,
        replaces: str | None = None,
        rollout: Sequence[float] | None = None,
    ) -> Deployed:
        """Deploy code and start monitoring it, in one transaction.

        Code that is live already is not deployed again, and its session continues.

        Args:
            code: the file's whole content, or the path of a file or of a package's folder.
            strict: True refuses code that breaks callers.
            watch: False deploys without monitoring.
            already_live: True records a deployment that something else made; see `ToolRegistry.note_deployment`.
            rehearse: True deploys it only if it passes a rehearsal. It need not fix anything, and must break nothing.
            replaces: the hash of the only code that it may replace; None is any.
            rollout: rising shares, such as `[0.1, 0.25, 0.5]`, at which it first serves beside the live version; `[]`
                replaces that at once. By default what `[monitor] rollout` says. See docs/rollouts.md.

        Raises:
            RehearsalRefused, RehearsalUndecided: the rehearsal refuses it, or a person decides; nothing was deployed.
            The same errors as `ToolRegistry.deploy` and `DeploymentMonitor.start_monitoring`.
        """
        from rollguard.registry import bytes_of

        content = bytes_of(code)
        if rehearse:
            done = self.rehearser.rehearse(tool_name, content, must_fix=False)
            done.check_passed()
            replaces = replaces or done.old_sha256  # beside another live version it may do otherwise
        changes = self.registry.changes(tool_name, content)
        # The session starts in the transaction that makes the version live, so no version is live without monitoring.
        beginning = self.monitor.watch(tool_name, deployed_at)
        before = self.store.versions.live(tool_name)
        held = content if self.registry.remote.of(tool_name) else self.registry.folder.read(tool_name)
        shares = self._shares(tool_name, rollout, decides=watch and not already_live)
        deploy = partial(self.registry.deploy, rollout=shares, replaces=replaces)
        go_live = self.registry.note_deployment if already_live else deploy
        version_number = go_live(
            tool_name,
            content,
            created_by=created_by,
            reason=reason,
            kind=kind,
            deployed_at=deployed_at,
            force=force,
            strict=strict,
            watch=beginning if watch else None,
        )
        beside = self.store.rollouts.open_of(tool_name) if shares else None
        rollout_id = None if beside is None else beside.rollout_id
        if beginning.session is not None:
            begun = beginning.session
            self.monitor.note_baseline(begun)
            return Deployed(
                tool_name, version_number, begun.session_id, changed=True, changes=changes, rollout_id=rollout_id
            )
        if beside is not None and beside.new_version == version_number:
            return Deployed(tool_name, version_number, beside.session_id, changed=False, rollout_id=rollout_id)
        if before is not None and before.version_number == version_number:
            if watch:
                self.monitor.watch_edits()  # the code may be an edit in the folder that nobody monitors yet
            watching = next(iter(self.store.sessions.active(tool_name)), None)
            session_id = watching.session_id if watching else None
            return Deployed(tool_name, version_number, session_id, changed=False, put_back=held != content)
        return Deployed(tool_name, version_number, None, changed=True, changes=changes)

    def _shares(self, tool_name: str, rollout: Sequence[float] | None, *, decides: bool) -> Sequence[float]:
        """Return the shares of a deployment's rollout: as given, else as the settings say."""
        if rollout is None:
            return self.monitor.rules_for(tool_name).rollout if decides else ()
        if rollout and not decides:
            raise InvalidInput("rollout: without a session, or of what is live already, nobody could decide about it")
        return rollout

    def release(
        self,
        label: str,
        tools: Mapping[str, str | bytes | os.PathLike[str]] | Iterable[str | os.PathLike[str]] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        reason: str | None = None,
        created_by: str = "human",
        released_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: bool = True,
        replace: bool = False,
    ) -> Released:
        """Release several tools together and monitor each. A regression of one rolls all of them back.

        A label is released once, by any number of processes; the others change nothing.

        Args:
            label: names the release, such as a git revision, a tag or an image.
            tools: the code of each tool by its name, or the files and packages of the tools. Without them it releases
                the functions of this program that are marked `@guard.tool`; call it at the start, after their import.
            metadata: your own values, of JSON.
            released_at: when they went live; now by default.
            force, strict, watch: as for `deploy`.
            replace: True ends the rollouts of its tools; by default a release that holds one is refused.

        Raises:
            The same errors as `ToolRegistry.release` and `DeploymentMonitor.start_monitoring`.
        """
        from rollguard.registry import code_of_files

        beginning = (lambda name: self.monitor.watch(name, released_at)) if watch else None
        if tools is None:
            released = self.registry.program.release(
                label, metadata=metadata, by=created_by, reason=reason, at=released_at, watch=beginning
            )
        else:
            released = self.registry.release(
                label,
                tools if isinstance(tools, Mapping) else code_of_files(tools),
                metadata=metadata,
                created_by=created_by,
                reason=reason,
                released_at=released_at,
                force=force,
                strict=strict,
                watch=beginning,
                replace=replace,
            )
        self._note_baselines(released)
        return released

    def sync(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        ref: str | None = None,
        wins: Literal["folder", "live"] | None = None,
        dry_run: bool = False,
        reason: str | None = None,
        created_by: str = "human",
        strict: bool = False,
    ) -> Synced:
        """Release what changed in a folder since its last sync, as one release. A second time changes nothing.

        Args:
            folder: the folder as git, CI, rsync or an image left it; by default the folder of tools itself.
            ref: the label; by default the folder's revision in git, else the hash of its tools.
            wins: what to keep where a live version is not in the folder, such as one that an improver deployed.
            dry_run: True only says what would be done.

        Raises:
            ReleaseConflict: a live version is not in the folder, and `wins` says nothing; or `ref` was released with
                other code. Nothing was changed.
            InvalidInput: there is no such folder.
            The same errors as `release`.
        """
        synced = self.registry.sync(
            folder,
            ref=ref,
            wins=wins,
            dry_run=dry_run,
            reason=reason,
            created_by=created_by,
            strict=strict,
            watch=self.monitor.watch,
        )
        if synced.released is not None:
            self._note_baselines(synced.released)
        return synced

    def _note_baselines(self, released: Released) -> None:
        for session_id in released.sessions.values():
            self.monitor.note_baseline(self.monitor.get_session(session_id))

    @overload
    def tool(self, function: F) -> F: ...
    @overload
    def tool(
        self,
        *,
        name: str | None = None,
        version: VersionNumber | None = None,
        is_failure: IsFailure | None = None,
        description: str | None = None,
        record: Iterable[str] | None = None,
        skip: Iterable[str] = (),
        record_result: bool = True,
        timeout_seconds: float | None = None,
        previous: Callable[..., Any] | None = None,
    ) -> Callable[[F], F]: ...
    def tool(
        self,
        function: F | None = None,
        *,
        name: str | None = None,
        version: VersionNumber | None = None,
        is_failure: IsFailure | None = None,
        description: str | None = None,
        record: Iterable[str] | None = None,
        skip: Iterable[str] = (),
        record_result: bool = True,
        timeout_seconds: float | None = None,
        previous: Callable[..., Any] | None = None,
    ) -> F | Callable[[F], F]:
        """Return `@tool` for a function of your program, outside the folder of tools; its calls go into this system.

        The settings `[record]`, `[tools.NAME.failure]` and `timeout_seconds` of `[tools.NAME]` apply to it. The
        arguments are those of `rollguard.tool`, and one more.

        Args:
            previous: the function as it was before the present release; it runs in place of this one when the release
                is rolled back. See `release`.

        Raises:
            InvalidInput: a value is invalid.
        """
        from rollguard.registry import either, is_of_a_program, tool

        def recording(recorded: F) -> F:
            tool_name = name or str(getattr(recorded, "__name__", ""))
            rule = self.settings.failure_rules.get(tool_name)
            running = version
            if version is None and is_of_a_program(recorded):
                recorded, running = self.registry.program.add(tool_name, recorded, previous)
            return tool(
                recorder=self.registry.recorder,
                name=name,
                version=running,
                is_failure=either(is_failure, rule),
                description=description,
                record=record,
                skip=skip,
                record_result=record_result,
                timeout_seconds=self.settings.timeouts.get(tool_name, timeout_seconds),
            )(recorded)

        return recording if function is None else recording(function)

    def install_signal_handlers(self) -> bool:
        """Store recorded executions when SIGTERM ends the process; see `rollguard.record.install_signal_handlers`."""
        from rollguard.record import install_signal_handlers

        return install_signal_handlers()

    def close(self) -> None:
        """Store recorded executions, and close the store's connections."""
        if "registry" in self.__dict__:
            self.registry.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
