"""`Rollguard`: the whole system, wired. The only place that builds objects from settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar, overload

from rollguard.compat import Change
from rollguard.loop.autonomous_loop import AutonomousLoop
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.notify import LogNotifier, Notifier, WebhookNotifier
from rollguard.record import install_signal_handlers
from rollguard.registry import IsFailure, ToolRegistry, VersionNumber, either, tool
from rollguard.registry.deploy.actuators import Actuator, CommandActuator, WebhookActuator
from rollguard.settings import Settings
from rollguard.store import ExecutionStore
from rollguard.versions.version_manager import ToolVersionManager

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment led to.

    Attributes:
        tool_name: the tool.
        version_number: the version that is live now.
        session_id: the session that watches it; None where the code was live already and nothing watches it.
        changed: False where the code was live already, so that nothing was deployed.
        changes: what callers of the tool notice of it, the breaking changes first.
        put_back: whether the code was live already and its file held something else: the file holds it again.
    """

    tool_name: str
    version_number: int
    session_id: int | None
    changed: bool
    changes: tuple[Change, ...] = ()
    put_back: bool = False


class Rollguard:
    """The whole system.

    Args:
        settings: everything that can be set; `from_settings` reads them from `rollguard.toml` and the environment.
        adopt: False for a program that only reads; see `ToolRegistry`.

    Attributes:
        store, registry, monitor, loop, versions: the parts, ready to be used on their own.
    """

    def __init__(self, settings: Settings, *, adopt: bool = True) -> None:
        self.settings = settings
        self.store = ExecutionStore(
            settings.database,
            store_payloads=settings.record.store_payloads,
            payload_limit=settings.record.payload_limit,
            busy_timeout=settings.record.busy_timeout_seconds,
            retention_days=settings.record.retention_days,
        )
        try:
            self.registry = ToolRegistry(
                settings.tools_dir,
                store=self.store,
                failure_rules=settings.failure_rules,
                durable=settings.record.durable,
                spool_fsync=settings.record.spool_fsync,
                flush_interval=settings.record.flush_interval_seconds,
                buffer_size=settings.record.buffer_size,
                actuators=_actuators(settings),
                follow=settings.follow,
                adopt=adopt,
            )
            self.monitor = _monitor(settings, self.store, self.registry)
        except BaseException:
            self.store.close()
            raise
        self.loop = AutonomousLoop(
            self.monitor,
            check_interval_seconds=settings.watch.check_interval_seconds,
        )
        self.versions = ToolVersionManager(self.store, self.registry)

    @classmethod
    def from_settings(
        cls, path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Self:
        """The system as `rollguard.toml` and the environment describe it. See `Settings.load`.

        Raises:
            InvalidSetting: a key is unknown or a value impossible.
            StoreError: the database cannot be opened.
            ToolFileError: the folder of tools cannot be used.
        """
        return cls(Settings.load(path, environ))

    def deploy(
        self,
        tool_name: str,
        code: str | bytes,
        *,
        reason: str | None = None,
        created_by: str = "human",
        kind: str | None = None,
        deployed_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: bool = True,
        already_live: bool = False,
    ) -> Deployed:
        """`registry.deploy` and `start_monitoring` in one transaction. Raises as they do.

        Code that is live already is not deployed again, and a session that watches it goes on.

        Args:
            strict: True refuses code that breaks callers.
            watch: False deploys without watching.
            already_live: somebody else deployed it elsewhere; see `ToolRegistry.note_deployment`.
        """
        changes = self.registry.changes(tool_name, code)
        # Begun in the transaction that makes the version live: a crash in between leaves nothing live unwatched.
        beginning = self.monitor.watch(tool_name, deployed_at)
        before = self.store.versions.live(tool_name)
        content = code.encode() if isinstance(code, str) else code
        held = content if self.registry.remote.of(tool_name) else self.registry.folder.read(tool_name)
        go_live = self.registry.note_deployment if already_live else self.registry.deploy
        version_number = go_live(
            tool_name,
            code,
            created_by=created_by,
            reason=reason,
            kind=kind,
            deployed_at=deployed_at,
            force=force,
            strict=strict,
            watch=beginning if watch else None,
        )
        if beginning.session is not None:
            self.monitor.note_baseline(beginning.session)
            return Deployed(tool_name, version_number, beginning.session.session_id, changed=True, changes=changes)
        if before is not None and before.version_number == version_number:
            watching = next(iter(self.store.sessions.active(tool_name)), None)
            session_id = watching.session_id if watching else None
            return Deployed(tool_name, version_number, session_id, changed=False, put_back=held != content)
        return Deployed(tool_name, version_number, None, changed=True, changes=changes)

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
    ) -> Callable[[F], F]: ...
    def tool(
        self,
        function: F | None = None,
        *,
        name: str | None = None,
        version: VersionNumber | None = None,
        is_failure: IsFailure | None = None,
        description: str | None = None,
    ) -> F | Callable[[F], F]:
        """`@tool` that records into this system: for a function of the program's own, outside the folder of tools.

        It is recorded as `[record]` says, and what `[tools.NAME.failure]` says of failures holds for it too. The
        arguments are those of `rollguard.tool`.

        Raises:
            InvalidInput: a value cannot be meant.
        """

        def record(recorded: F) -> F:
            rule = self.settings.failure_rules.get(name or str(getattr(recorded, "__name__", "")))
            return tool(
                recorder=self.registry.recorder,
                name=name,
                version=version,
                is_failure=either(is_failure, rule),
                description=description,
            )(recorded)

        return record if function is None else record(function)

    def install_signal_handlers(self) -> bool:
        """Store what was recorded when SIGTERM ends the process; see `rollguard.record.install_signal_handlers`."""
        return install_signal_handlers()

    def close(self) -> None:
        """Bring what was recorded to the database, and close the store's connections."""
        self.registry.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _monitor(settings: Settings, store: ExecutionStore, registry: ToolRegistry) -> DeploymentMonitor:
    return DeploymentMonitor(
        execution_store=store,
        tool_registry=registry,
        **settings.monitor.to_dict(),
        tool_overrides=settings.tools,
        notifiers=_notifiers(settings),
    )


def _actuators(settings: Settings) -> dict[str, Actuator]:
    actuators: dict[str, Actuator] = {}
    for name, given in settings.actuators.items():
        if given.kind == "command":
            actuators[name] = CommandActuator(given.command, timeout=given.timeout_seconds or 60.0)
        elif given.kind == "webhook":
            secret = given.secret.get_secret_value()
            actuators[name] = WebhookActuator(given.url, secret, timeout=given.timeout_seconds or 10.0)
    return actuators


def _notifiers(settings: Settings) -> list[Notifier]:
    notifiers: list[Notifier] = [LogNotifier()] if settings.notify.log else []
    timeout = settings.notify.webhook_timeout_seconds
    notifiers += [WebhookNotifier(url, timeout=timeout) for url in settings.notify.webhook_urls]
    return notifiers
