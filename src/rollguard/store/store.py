"""`ExecutionStore`: the one door to the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self
from uuid import UUID

from rollguard.errors import InvalidInput, StoreUnavailable
from rollguard.model.file_access import FileAccess
from rollguard.model.given import checked_now, understood_id
from rollguard.model.log import logger_of
from rollguard.model.redaction import DEFAULT, Redaction
from rollguard.sandbox.outcome import Frame
from rollguard.store.database.change_feed import Arrivals, arrivals_in
from rollguard.store.database.engine import Database
from rollguard.store.executions.amend import Amendments, checked_amendment
from rollguard.store.executions.executions import Executions
from rollguard.store.executions.hangs import FailureDefinitions, Flights
from rollguard.store.executions.listing import Listing
from rollguard.store.executions.payloads import Payloads, Redact
from rollguard.store.executions.samples import Samples
from rollguard.store.executions.spans import Spans
from rollguard.store.improvements.attempts import Attempts
from rollguard.store.improvements.events import AttemptEvents
from rollguard.store.improvements.freezes import Freezes
from rollguard.store.improvements.statistics import LoopStatistics
from rollguard.store.investigations import Investigations
from rollguard.store.monitoring.baselines import Baselines
from rollguard.store.monitoring.sessions import Sessions
from rollguard.store.monitoring.watchers import Watchers
from rollguard.store.outbox import Outbox
from rollguard.store.rehearsals import Rehearsals
from rollguard.store.retention.retention import Retention, Tidied
from rollguard.store.rollbacks.actuator_leases import Actuations
from rollguard.store.rollbacks.rollbacks import Rollbacks
from rollguard.store.rollouts import Rollouts
from rollguard.store.rollups.by_tool import ByTool
from rollguard.store.rollups.last_calls import LastCalls
from rollguard.store.rollups.refresh import refresh_if_due
from rollguard.store.schema.migrate import check_replaced, migrate
from rollguard.store.tokens import Tokens
from rollguard.store.versions.edits import Edits
from rollguard.store.versions.live_pointer import Pointers
from rollguard.store.versions.quarantine import Quarantine
from rollguard.store.versions.releases import Releases
from rollguard.store.versions.versions import Versions
from rollguard.store.views import Reports

logger = logger_of(__name__)


class ExecutionStore:
    """Executions, versions, sessions and rollbacks in one SQLite file or one PostgreSQL database.

    Opening an empty database creates the schema, opening an older one migrates it; processes that open one at the same
    moment wait for each other. Safe to share between threads; a forked child opens connections of its own.

    Args:
        url: `sqlite:///rollguard.db` or `postgresql://user:password@host/database`.
        store_payloads: False keeps no parameters and no results.
        payload_limit: the largest JSON, in bytes, of parameters or a result that is kept whole.
        redact: called as `redact(tool_name, "parameters" or "result", value)`; what it returns is kept.
        redaction: which names and texts are secrets, in parameters, results and errors.
        busy_timeout: seconds to wait for another process's lock: of the database on SQLite, of a tool on PostgreSQL.
        must_answer: False opens a store whose database is away. Its schema is made or checked at its first use.
        retention_days: how long `tidy` keeps raw executions, 1 to 3650; 0 is for ever. Rollups and history stay.
        amend_within_seconds: how long after an execution's end `amend` may change it, 0 to 604800.
        file_access: who may read a SQLite file that is created.
        schema: the PostgreSQL schema that holds the store, created if it does not exist; by default the first of the
            search path that the URL's `options`, the user or the server give.

    Raises:
        InvalidInput: the URL cannot be understood.
        InvalidSetting: `retention_days` or `amend_within_seconds` is out of its range, or `schema` is none.
        SchemaTooNew: a newer Rollguard has written the database.
        SchemaTooOld: a Rollguard from before the first release has written the database.
        NotARollguardStore: the file or the database holds something else.
        StoreUnavailable: the database cannot be reached or written, and `must_answer` is True.
    """

    def __init__(
        self,
        url: str,
        *,
        store_payloads: bool = True,
        payload_limit: int = 16_384,
        redact: Redact | None = None,
        redaction: Redaction = DEFAULT,
        busy_timeout: float = 5.0,
        retention_days: int = 30,
        amend_within_seconds: float = 3_600.0,
        file_access: FileAccess = FileAccess.OWNER,
        must_answer: bool = True,
        schema: str | None = None,
    ) -> None:
        self.database = Database(url, busy_timeout=busy_timeout, access=file_access, schema=schema)
        self.retention = Retention(self.database, retention_days)
        self.amendments = Amendments(self.database, amend_within_seconds)
        try:
            migrate(self.database)
        except BaseException as error:
            if must_answer or not isinstance(error, StoreUnavailable):
                self.database.close()
                raise
            logger.warning("the database is used when it answers: %s", error)
            self.database.before_first_use(partial(migrate, self.database))
        self.database.check_replaced = lambda thorough: check_replaced(url, busy_timeout, thorough=thorough)
        self.executions = Executions(self.database, Payloads(store_payloads, payload_limit, redact, redaction))
        self.samples = Samples(self.database)
        self.listing = Listing(self.database)
        self.spans = Spans(self.database, self.executions)
        self.last_calls = LastCalls(self.database)
        self.in_flight = Flights(self.database)
        self.definitions = FailureDefinitions(self.database)
        self.versions = Versions(self.database)
        self.releases = Releases(self.database)
        self.edits = Edits(self.database)
        self.pointers = Pointers(self.database)
        self.sessions = Sessions(self.database)
        self.baselines = Baselines(self.database, self.executions)
        self.watchers = Watchers(self.database)
        self.rollbacks = Rollbacks(self.database)
        self.quarantine = Quarantine(self.database)
        self.rehearsals = Rehearsals(self.database)
        self.actuations = Actuations(self.database)
        self.outbox = Outbox(self.database)
        self.reports = Reports(self.database)
        self.by_tool = ByTool(self.database)
        self.investigations = Investigations(self.database)
        self.rollouts = Rollouts(self.database)
        self.tokens = Tokens(self.database)
        self.attempts = Attempts(self.database)
        self.attempt_events = AttemptEvents(self.database)
        self.freezes = Freezes(self.database)
        self.loop_statistics = LoopStatistics(self.database)

    @property
    def redaction(self) -> Redaction:
        """Return what is a secret in parameters, results, errors and alerts."""
        return self.executions.redaction

    def store_tool_execution(
        self,
        *,
        tool_name: str,
        success: bool | int,
        duration_ms: float | timedelta | None = None,
        error: str | BaseException | None = None,
        error_type: str | None = None,
        parameters: Any = None,
        result: Any = None,
        executed_at: datetime | str | None = None,
        version_number: int | None = None,
        execution_id: str | UUID | int | None = None,
        request_id: str | UUID | int | None = None,
        tags: Mapping[str, Any] | None = None,
        score: float | None = None,
        failed_at: Frame | Mapping[str, Any] | None = None,
        traceback: str | None = None,
        rollout_id: int | None = None,
        stage: int | None = None,
        arm: str | None = None,
    ) -> str:
        """Record one call of a tool. Numbers may be of any class, such as numpy's.

        Args:
            tool_name: 1 to 255 printable characters.
            success: whether the call succeeded; 1 and 0 mean the same as True and False.
            duration_ms: how long it took: milliseconds, or a `timedelta`.
            error: what went wrong: the exception, or text that may begin with the error's type.
            error_type: the error's type, if `error` does not say it.
            parameters: what the tool was called with; any value, kept as JSON.
            result: what it returned; any value, kept as JSON.
            executed_at: when the call began; now by default. Also a text in ISO 8601. Without a zone it is local time.
            version_number: the version that ran; without it the execution counts by its time.
            execution_id: the caller's id of this call; writing the same id again changes nothing.
            request_id: what the call was made for; calls of a tool that share one count once, with the last outcome.
            tags: the caller's own, such as `{"tenant": "a"}`: at most 16 texts, numbers or truths.
            score: how right the answer was, from 0 to 1: see `rollback_on_score`.
            failed_at: the innermost line of the tool's own code: `function`, `line` and `text`. If `error` is an
                exception that was raised, it says this itself, and the traceback, too.
            traceback: the traceback's text.
            rollout_id, stage, arm: the rollout, its stage and the version that was drawn for the call, `new` or `old`;
                of a target whose `Router` draws.

        Returns:
            The execution's id: the given one, or a new one.

        Raises:
            InvalidInput: a value is invalid; nothing was written.
            StoreUnavailable: the database cannot be reached or written; nothing was written.
        """
        row = self.executions.row(
            tool_name=tool_name,
            success=success,
            duration_ms=duration_ms,
            error=error,
            error_type=error_type,
            parameters=parameters,
            result=result,
            executed_at=executed_at,
            version_number=version_number,
            execution_id=execution_id,
            request_id=request_id,
            tags=tags,
            score=score,
            failed_at=failed_at,
            traceback=traceback,
            rollout_id=rollout_id,
            stage=stage,
            arm=arm,
        )
        self.executions.write([row])
        return str(row.execution_id)

    def store_tool_executions(self, executions: Iterable[Mapping[str, Any]]) -> int:
        """Record many calls in one transaction: all of them, or, when one is refused, none.

        Args:
            executions: mappings with the arguments of `store_tool_execution`.

        Returns:
            How many were new; one whose `execution_id` is already stored is not.

        Raises:
            InvalidInput: a value is invalid; nothing was written.
            StoreUnavailable: the database cannot be reached or written; nothing was written.
        """
        if not isinstance(executions, Iterable):
            raise InvalidInput(f"executions: {executions!r} are none; give a list of mappings")
        return self.executions.write_from(executions)

    def amend(
        self,
        execution_id: str | UUID | int,
        *,
        success: bool | int | None = None,
        score: float | None = None,
        reason: str | BaseException | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Amend a stored execution whose answer is rated later. All counts follow; a kept baseline does not.

        Giving the same again changes nothing, at any time.

        Args:
            execution_id: the id that `store_tool_execution` returned or was given.
            success: whether the answer was right; True removes the stored error.
            score: how right it was, from 0 to 1.
            reason: why it failed, with `success=False`: text that may begin with the error's type, or the exception.
            now: the present moment; the clock's by default. A naive datetime is local time.

        Returns:
            Whether anything was changed.

        Raises:
            InvalidInput: a value is invalid, or neither `success` nor `score` is given.
            UnknownExecution: there is no stored execution with that id.
            AmendmentRefused: it ended longer ago than `amend_within_seconds`, or its outcome is final.
            StoreUnavailable: the database cannot be reached or written; nothing was written.
        """
        given = understood_id(execution_id)
        checked_id = checked_amendment(given, success, score, reason)
        amended = self.executions.row(
            tool_name="amended", success=True if success is None else success, score=score, error=reason
        )
        outcome = None if success is None else amended
        return self.amendments.apply(checked_id, outcome, amended.score, checked_now(now))

    def arrivals(self) -> Arrivals:
        """Return what reports at once which tools were executed, by any process; see `Arrivals`."""
        return arrivals_in(self.database)

    def tidy(self, *, now: datetime | None = None) -> Tidied:
        """Remove executions that are older than `retention_days`; see `Retention`. The loop does it once a cycle.

        A call does a bounded amount of work, in small steps; other writers need not wait for it.

        Args:
            now: the present moment; the clock's by default. A naive datetime is local time.

        Returns:
            What was done.

        Raises:
            StoreUnavailable: the database cannot be reached or written.
        """
        return self.retention.tidy(checked_now(now))

    def fold(self) -> None:
        """Refresh the rollups now, so that the next read costs less. Changes no count.

        Raises:
            StoreUnavailable: the database cannot be reached or written.
        """
        refresh_if_due(self.database, 1)

    def close(self) -> None:
        """Close every connection. The next use opens new ones."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
