"""What the stages of an improvement share: the parts they use, and taking attempts one by one under a lease."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from rollguard.errors import AttemptClosed, RollguardError, StoreError, StoreUnavailable
from rollguard.improve import Briefer, Improver, Improvers
from rollguard.investigate import Investigator
from rollguard.loop.improvement.memory import left_alone_until
from rollguard.loop.rules import LoopRules
from rollguard.model.attempt import FAIL, VOID, Attempt, State, Why
from rollguard.model.given import checked_now
from rollguard.model.log import described, logger_of
from rollguard.model.own_spans import Note, span
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.registry import ToolRegistry
from rollguard.rehearse import Rehearser
from rollguard.store import ExecutionStore, Step

logger = logger_of(__name__)

LEASE = timedelta(seconds=90)
_RENEW_SECONDS = 30.0
_MOST_STARTS = 5  # of a stage whose process ended each time


@dataclass(frozen=True)
class Improvement:
    """The parts of an improvement. Each can be yours.

    Attributes:
        store: attempts, versions and sessions.
        investigator: finds causes.
        briefer: says what an improver gets to know.
        improver: writes repairs.
        rehearser: the gate.
        registry: makes a version live.
        monitor: begins to monitor it.
        rules: what may be done, how often, and what it may cost.
    """

    store: ExecutionStore
    investigator: Investigator
    briefer: Briefer
    improver: Improver | Improvers
    rehearser: Rehearser
    registry: ToolRegistry
    monitor: DeploymentMonitor
    rules: LoopRules = field(default_factory=LoopRules)


class AttemptStage(ABC):
    """A stage that takes the attempts in its states, one at a time. Your own may derive from it.

    Several loops share the attempts: each takes what no other one works on. If a process ends, another takes over its
    attempt when the lease is over.

    Args:
        parts: what it works with.

    Attributes:
        name: its name.
        takes: the states of the attempts that it works on.
        beside_monitoring: monitoring does not wait for it, and neither does a loop that stops.
    """

    name: str
    takes: tuple[State, ...]
    follows: frozenset[str] = frozenset()
    beside_monitoring = True

    def __init__(self, parts: Improvement) -> None:
        self.parts, self.store, self.rules = parts, parts.store, parts.rules
        self.worker = f"{self.name}-{platform.node() or 'host'}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.interval_seconds = parts.rules.check_interval_seconds

    def run(self, now: datetime | None) -> dict[str, int]:
        """Work on each attempt once. One that fails with an error is taken again when its lease is over."""
        counts: Counter[str] = Counter()
        last = 0
        while (attempt := self._next(last, now)) is not None:
            last = attempt.attempt_id
            try:
                with self._keeping(attempt, now), _traced(self.name, attempt):
                    counts.update(self._handle(attempt, now))
            except AttemptClosed as error:
                logger.info("%s: %s", self.name, error)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - one tool's error, or that of a user's part, stops no other
                counts["errors"] += 1
                said = str(error) if isinstance(error, RollguardError) else described(error)
                logger.error("%s: attempt %d of %s: %s", self.name, last, attempt.tool_name, said)
        return dict(counts)

    @abstractmethod
    def work(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        """Work on one attempt, and move it on with `move`, or leave it with `leave`. Return counts."""

    def move(self, attempt: Attempt, step: Step, now: datetime | None, **options: Any) -> Attempt:
        """Change the state of the attempt that this stage has taken."""
        return self.store.attempts.move(attempt, step, checked_now(now), worker=self.worker, **options)

    def leave(self, attempt: Attempt) -> dict[str, int]:
        """Leave the attempt as it is, for a later run."""
        self.store.attempts.let_go(attempt.attempt_id, self.worker)
        return {}

    def step(self, transition: Any, reason: str | None = None, **values: Any) -> Step:
        """Return a change of state by this stage."""
        return Step(transition, self.name, reason, **values)

    def _handle(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        if attempt.starts > _MOST_STARTS and attempt.state in FAIL.leaves:
            reason = f"{self.name} was begun {attempt.starts - 1} times and never ended"
            self.move(attempt, self.step(FAIL, reason, why=Why.GAVE_UP, values=self.cooling(attempt, now)), now)
            return {"improvements_failed": 1}
        if attempt.state not in (State.DEPLOYING, State.WATCHING) and (problem := self.voided(attempt)):
            self.move(attempt, self.step(VOID, problem, why=Why.BASE_CHANGED), now)
            return {}
        return self.work(attempt, now)

    def voided(self, attempt: Attempt) -> str | None:
        """Return why the attempt is void: something else is live than what it improves."""
        live = self.store.versions.live(attempt.tool_name)
        if live is None:
            return "the tool has no live version any more"
        if self.store.versions.get(attempt.tool_name, live.version_number).sha256 != attempt.base_sha256:
            return f"version {live.version_number} went live, by {live.deployed_by}"
        return None

    def cooling(self, attempt: Attempt, now: datetime | None) -> dict[str, Any]:
        """Return until when the tool is left alone after an attempt that failed."""
        return cooling(self.store, self.rules, attempt, checked_now(now))

    def _next(self, last: int, now: datetime | None) -> Attempt | None:
        moment = checked_now(now)
        return self.store.attempts.take(self.takes, self.worker, after=last, now=moment, until=moment + LEASE)

    @contextlib.contextmanager
    def _keeping(self, attempt: Attempt, now: datetime | None) -> Iterator[None]:
        """Renew the lease while the stage works; where the moment is given, time does not pass."""
        if now is not None:
            yield
            return
        over = threading.Event()
        renew: Callable[[], bool] = partial(self._renewed, attempt.attempt_id)
        keeper = threading.Thread(target=_keep, args=(over, renew), name="rollguard-lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    def _renewed(self, attempt_id: int) -> bool:
        return self.store.attempts.renew(attempt_id, self.worker, datetime.now(UTC) + LEASE)


def _traced(stage: str, attempt: Attempt) -> contextlib.AbstractContextManager[Note]:
    state = str(attempt.state)
    return span("improvement", tool_name=attempt.tool_name, attempt_id=attempt.attempt_id, stage=stage, state=state)


def cooling(store: ExecutionStore, rules: LoopRules, attempt: Attempt, now: datetime) -> dict[str, Any]:
    """Return until when the tool of an attempt that fails now is left alone, as a value to store."""
    key = attempt.cause_key
    known = [] if key is None else store.attempts.of_cause(attempt.tool_name, key)
    return {"not_before": left_alone_until(known, rules, now)}


def _keep(over: threading.Event, renew: Callable[[], bool]) -> None:
    while not over.wait(_RENEW_SECONDS):
        try:
            if not renew():
                return
        except StoreError as error:  # the next renewal may be in time
            logger.warning("a lease could not be renewed: %s", error)
