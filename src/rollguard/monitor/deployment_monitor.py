"""`DeploymentMonitor`: monitor a deployment, check its health, and roll it back if it made its tool worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rollguard.errors import InvalidInput, StoreError
from rollguard.judge import Rules
from rollguard.judge.rules import understood
from rollguard.model.given import checked_all, checked_mapping, checked_now, checked_session_id, understood_time
from rollguard.model.log import logger_of
from rollguard.model.names import checked_tool_name
from rollguard.model.rollback import Rollback
from rollguard.model.session import Session
from rollguard.monitor.actions import Actions
from rollguard.monitor.checker import Checker
from rollguard.monitor.confirmations import Confirmations
from rollguard.monitor.confounders import notes_on_baseline
from rollguard.monitor.explain import explain
from rollguard.monitor.session_checks import SessionChecks, moment_of
from rollguard.notify import Dispatcher, LogNotifier, Notifier
from rollguard.registry import ToolRegistry
from rollguard.rollback import RollbackRunner
from rollguard.rollout import RolloutSteps
from rollguard.store import Beginning, ExecutionStore

logger = logger_of(__name__)

_FUTURE = timedelta(minutes=5)  # how far ahead of ours another machine's clock may be


class DeploymentMonitor:
    """Monitors deployments and rolls back those that made their tool worse.

    Each deployment is monitored in a session. A check compares the executions since the deployment with those of the
    days before it. A drop of the success rate that reaches the threshold is a regression; `auto_rollback_if_needed`
    then restores the last good version. You can use it from many threads and processes at once.

    Args:
        execution_store: where executions, sessions and versions are kept.
        tool_registry: serves the tools and restores their files.
        monitoring_window_hours: how long a deployment is monitored.
        baseline_window_days: days before the deployment that form the baseline.
        regression_threshold: drop of the success rate that triggers a rollback; 0.15 is 15 percentage points.
        min_executions: executions that both windows need before they are compared.
        tool_overrides: for a tool's name, the rules that differ for it.
        notifiers: channels that are notified of rollbacks and warnings; by default the log.
        notify_parameters: whether notifications show what failed calls were given.
        rules: any other field of `rollguard.judge.Rules`, such as `decision="evidence"` or `alpha=0.01`.

    Attributes:
        store, registry, rules: as given.
        session_checks, runner, dispatcher: check many sessions, carry out rollbacks and send notifications, for the
            stages of the loop.
        rollouts: promotes, pauses, resumes and aborts rollouts.

    Raises:
        InvalidSetting: a setting is out of its range; the message gives the setting and the range.
    """

    def __init__(
        self,
        execution_store: ExecutionStore,
        tool_registry: ToolRegistry,
        monitoring_window_hours: int = 24,
        baseline_window_days: int = 7,
        regression_threshold: float = 0.15,
        min_executions: int = 10,
        *,
        tool_overrides: Mapping[str, Mapping[str, Any]] | None = None,
        notifiers: Sequence[Notifier] | None = None,
        notify_parameters: bool = False,
        **rules: Any,
    ) -> None:
        self.store = execution_store
        self.registry = tool_registry
        of_the_contract = {
            "monitoring_window_hours": monitoring_window_hours,
            "baseline_window_days": baseline_window_days,
            "regression_threshold": regression_threshold,
            "min_executions": min_executions,
        }
        self.rules = Rules(**understood(of_the_contract)).with_overrides(rules)
        overrides = {
            name: checked_mapping(f"tool_overrides.{name}", values)
            for name, values in checked_mapping("tool_overrides", tool_overrides).items()
        }
        self._rules_of = {name: self.rules.with_overrides(values) for name, values in overrides.items()}
        self.runner = RollbackRunner(execution_store, tool_registry)
        channels = [LogNotifier()] if notifiers is None else checked_all("notifiers", notifiers, "name", "notify")
        self.dispatcher = Dispatcher(execution_store, channels, parameters=notify_parameters)
        self.rollouts = RolloutSteps(execution_store, tool_registry)
        confirmations = Confirmations(execution_store, tool_registry)
        self._checker = Checker(execution_store, tool_registry.recorder, confirmations)
        self._actions = Actions(execution_store, self.runner, self.rollouts, confirmations)
        self.session_checks = SessionChecks(execution_store, self._checker, self._actions)
        tool_registry.monitor_edits_with(self)

    # --- sessions --------------------------------------------------------------------------------------------------

    def start_monitoring(
        self,
        tool_name: str,
        deployment_time: datetime | str,
        *,
        version: int | str | None = None,
        notes: str | None = None,
        now: datetime | None = None,
        **overrides: Any,
    ) -> int:
        """Start monitoring a deployment. An active session of the same tool becomes `superseded`.

        Args:
            tool_name: the tool that was deployed.
            deployment_time: when it was deployed, also as a text in ISO 8601. An execution at exactly this time is
                current. Without a zone it is local time.
            version: the version to monitor, by its number or a label; by default the live one.
            notes: any text to keep with the session.
            overrides: any field of `rollguard.judge.Rules`, for this session alone.

        Returns:
            The session's id.

        Raises:
            InvalidToolName, InvalidSetting, InvalidInput: a value is invalid.
            UnknownVersion: the tool has no such version.
        """
        moment = moment_of(now)
        deployed = _checked_time(deployment_time, moment)
        rules = self.rules_for(tool_name).with_overrides(overrides)
        number = self.store.versions.get(tool_name, version).version_number if isinstance(version, str) else version
        session = self.store.sessions.start(tool_name, deployed, rules, version_number=number, notes=notes, now=moment)
        self.note_baseline(session)
        return session.session_id

    def watch(
        self, tool_name: str, deployment_time: datetime | str | None = None, *, now: datetime | None = None
    ) -> Beginning:
        """Return a session that `ToolRegistry.deploy` starts together with a deployment.

        Both happen in one transaction, so a crash cannot leave a version live without monitoring.

        Args:
            deployment_time: when the version goes live; now by default.

        Raises:
            InvalidInput: the time is invalid.
        """
        moment = moment_of(now)
        if deployment_time is not None:
            _checked_time(deployment_time, moment)
        return Beginning(self.rules_for(tool_name), moment)

    def watch_edits(self, *, now: datetime | None = None) -> list[int]:
        """Start monitoring edits in a folder that processes without a monitor serve. The loop does it all the time.

        Returns:
            The ids of the new sessions.
        """
        started = self.store.edits.monitor(self.rules_for, moment_of(now))
        for session in started:
            self.note_baseline(session)
        return [session.session_id for session in started]

    def note_baseline(self, session: Session) -> None:
        """Store with a new session what its baseline does not count, and what it mixes, such as several versions."""
        try:
            (session,) = self.store.baselines.of([session], session.monitoring_started_at)
            mixed = notes_on_baseline(self.store, session)
            self.store.sessions.note_baseline(session, mixed)
        except StoreError as error:  # monitoring has started; a failure here must not hide that
            logger.error("session %d: what is mixed in its baseline is not noted: %s", session.session_id, error)
            return
        if mixed:
            logger.warning("%s, session %d: %s", session.tool_name, session.session_id, "; ".join(mixed))

    def rules_for(self, tool_name: str) -> Rules:
        """Return the rules for deployments of this tool."""
        if not isinstance(tool_name, str):
            checked_tool_name(tool_name)  # says what is wrong with it
        return self._rules_of.get(tool_name, self.rules)

    def get_active_sessions(self) -> list[Session]:
        """Return the active sessions, oldest first."""
        return self.store.sessions.active()

    def get_session(self, session_id: int | str) -> Session:
        """Return one session, in any status. Raise `UnknownSession` if it does not exist."""
        return self.store.sessions.get(checked_session_id(session_id))

    def cancel_monitoring(
        self, session_id: int | str, reason: str = "cancelled", *, now: datetime | None = None
    ) -> Session:
        """Stop monitoring a deployment at an operator's request. A rollback that is not carried out yet is called off.

        Raises:
            UnknownSession: there is none with that id.
            SessionClosed: it is no longer active.
        """
        return self.store.sessions.cancel(checked_session_id(session_id), notes=reason, now=moment_of(now))

    # --- checking --------------------------------------------------------------------------------------------------

    def check_health(self, tool_name: str, session_id: int | str, *, now: datetime | None = None) -> dict[str, Any]:
        """Compare the executions since the deployment with those before it, and store the result.

        It rolls nothing back. The check of a session that is no longer active is not stored.

        Args:
            now: the moment of the check; by default the present one.

        Returns:
            The report: tool_name, session_id, deployment_time, hours_since_deployment, checked_at, baseline, current,
            comparison, evidence, verdict, reasons, needs_rollback. See docs/report.md.

        Raises:
            UnknownSession: there is none with that id.
            InvalidInput: the session is of another tool.
            StoreUnavailable: the database cannot be reached or written.
        """
        return self._checker.check([self._session_of(tool_name, session_id)], moment_of(now))[0].to_dict()

    def auto_rollback_if_needed(
        self, tool_name: str, session_id: int | str, *, now: datetime | None = None
    ) -> dict[str, Any]:
        """Check the deployment, roll it back if it made its tool worse, and complete the session after its window.

        Returns:
            The report of `check_health`, with rollback_performed, rollback_type, reason, success_rate_drop and
            rollback_result. If a rollback was needed but failed, `rollback_performed` is False, and `reason` and
            `rollback_result` say why.

        Raises:
            The same errors as `check_health`.
        """
        moment = moment_of(now)
        session = self._session_of(tool_name, session_id)
        (report,) = self._checker.check([session], moment)
        taken = self._actions.take(report, moment_of(now))
        self.dispatcher.deliver(moment_of(now))
        return taken.to_dict()

    def explain(self, session_id: int | str) -> dict[str, Any]:
        """Return why a deployment was, or was not, rolled back; see `rollguard.monitor.explain.explain`."""
        return explain(self.store, checked_session_id(session_id))

    # --- rolling back ----------------------------------------------------------------------------------------------

    def roll_back(
        self,
        tool_name: str,
        *,
        to_version: int | str | None = None,
        reason: str,
        requested_by: str = "human",
        quarantine: bool = False,
        now: datetime | None = None,
    ) -> Rollback:
        """Roll a tool back at a person's request, and notify people. See `RollbackRunner.roll_back_by_hand`.

        `to_version` may be the label of a release.
        """
        moment = moment_of(now)
        try:
            return self.runner.roll_back_by_hand(
                checked_tool_name(tool_name),
                to_version=to_version,
                reason=reason,
                requested_by=requested_by,
                quarantine=quarantine,
                now=moment,
            )
        finally:
            self.dispatcher.deliver(moment)

    def roll_back_release(
        self,
        label: str,
        *,
        reason: str,
        requested_by: str = "human",
        quarantine: bool = False,
        now: datetime | None = None,
    ) -> tuple[list[Rollback], list[str]]:
        """Roll back all tools of a release at a person's request. See `RollbackRunner.roll_back_release`."""
        moment = moment_of(now)
        try:
            return self.runner.roll_back_release(
                label, reason=reason, requested_by=requested_by, quarantine=quarantine, now=moment
            )
        finally:
            self.dispatcher.deliver(moment)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _session_of(self, tool_name: str, session_id: int | str) -> Session:
        session = self.get_session(session_id)
        if session.tool_name != tool_name:
            raise InvalidInput(f"session {session_id} watches {session.tool_name}, not {tool_name}")
        return session


def _checked_time(deployment_time: object, now: datetime) -> datetime:
    if not isinstance(understood_time(deployment_time), datetime):  # not even None, which is now elsewhere
        raise InvalidInput(f"deployment_time: {deployment_time!r} is not a datetime, nor a time in ISO 8601")
    moment = checked_now(deployment_time, "deployment_time")
    if moment > now + _FUTURE:
        raise InvalidInput(
            f"deployment_time: {moment.isoformat()} lies in the future. A naive datetime is local time; "
            "for UTC give datetime.now(timezone.utc)"
        )
    return moment
