"""The stage that deploys what was approved: it writes the intention, acts with the key, and confirms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from rollguard.errors import AttemptClosed, DeploymentConflict, RollguardError, StoreError
from rollguard.loop.improvement.approvals import Approvals
from rollguard.loop.improvement.work import AttemptStage, Improvement
from rollguard.model.attempt import DEPLOY, FAIL, INTEND, VOID, Attempt, State, Why
from rollguard.model.given import checked_now
from rollguard.model.version import Deployment
from rollguard.store import nothing_else_is_open

_LONGEST_REASON = 4_000


class _Made(NamedTuple):
    version_number: int
    session_id: int | None
    how: str


class DeployStage(AttemptStage):
    """Deploys approved proposals under monitoring.

    The deployment's reason holds the attempt's key. A process that ended between the deployment and its confirmation is
    found out by it, so nothing is deployed twice.
    """

    name = "deploy"
    takes = (State.APPROVED, State.DEPLOYING)
    follows = frozenset({"approve"})

    def __init__(self, parts: Improvement) -> None:
        super().__init__(parts)
        self._approvals = Approvals(parts.store, parts.rules)

    def work(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        """Deploy the candidate of one attempt."""
        if attempt.state is State.APPROVED:
            problem = self._approvals.problem(attempt, checked_now(now))
            if problem is not None:
                transition, why, reason = problem
                values = self.cooling(attempt, now)
                self.move(attempt, self.step(transition, reason, why=why, values=values), now)
                return {"improvements_failed": 1}
            try:
                attempt = self._intended(attempt, now)
            except AttemptClosed:
                self.leave(attempt)  # it waits until the tool can be changed
                raise
        made = self._made(attempt)
        if made is None:
            if {None, attempt.tool_name} & self.store.freezes.all().keys():
                return self.leave(attempt)
            try:
                self._act(attempt, now)
            except StoreError:
                raise  # it is unknown what was done: the next run finds out
            except RollguardError as error:
                if self._made(attempt) is None:
                    return self._not_deployed(attempt, error, now)
            made = self._made(attempt)
        self._confirm(attempt, made, now)
        return {"improvements_deployed": 1}

    def _not_deployed(self, attempt: Attempt, error: RollguardError, now: datetime | None) -> Mapping[str, int]:
        if isinstance(error, DeploymentConflict):
            self.move(attempt, self.step(VOID, str(error), why=Why.BASE_CHANGED), now)
            return {}
        self.move(attempt, self.step(FAIL, str(error), why=Why.ERROR, values=self.cooling(attempt, now)), now)
        return {"improvements_failed": 1}

    def _intended(self, attempt: Attempt, now: datetime | None) -> Attempt:
        """Write the intention. It stays this stage's, so that no other loop acts on it."""
        step = self.step(INTEND, f"version {attempt.base_version} is live, as it was")
        return self.move(attempt, step, now, conditions=[nothing_else_is_open], keep_lease=True)

    def _act(self, attempt: Attempt, now: datetime | None) -> None:
        proposal = attempt.proposal or {}
        by = [f"model {proposal['model']}"] if proposal.get("model") else []
        by += [f"prompt sha256 {proposal['prompt_sha256']}"] if proposal.get("prompt_sha256") else []
        why = str(proposal.get("reason") or "a repair")[:_LONGEST_REASON]
        name, monitor = attempt.tool_name, self.parts.monitor
        at = None if now is None else min(checked_now(now), checked_now(None))  # never in the future
        beginning = monitor.watch(name, at)
        self.parts.registry.deploy(
            name,
            attempt.candidate or b"",
            reason=f"{why} ({', '.join([*by, key_of(attempt)])})",
            created_by=attempt.author or self.name,
            kind="improvement",
            deployed_at=at,
            watch=beginning,
            rollout=monitor.rules_for(name).rollout,
            replaces=attempt.base_sha256,
        )
        if beginning.session is not None:
            monitor.note_baseline(beginning.session)

    def _made(self, attempt: Attempt) -> _Made | None:
        """Return the deployment, or the rollout, that this attempt made, if it did."""
        mark, name = key_of(attempt), attempt.tool_name
        for rollout in self.store.rollouts.recent(name):
            if mark in (rollout.reason or ""):
                return _Made(rollout.new_version, rollout.session_id, "serves beside the live one")
        for one in self.store.versions.deployments(name):
            if mark in (one.reason or ""):
                return _Made(one.version_number, self._session_of(one), "is live")
        return None

    def _session_of(self, deployment: Deployment) -> int | None:
        for one in self.store.sessions.recent(tool_name=deployment.tool_name):
            same = one.version_number == deployment.version_number
            if same and one.deployment_time == deployment.monitored_from:
                return one.session_id
        return None

    def _confirm(self, attempt: Attempt, made: _Made | None, now: datetime | None) -> None:
        if made is None:
            raise RollguardError(f"{attempt.tool_name}: its deployment is not recorded; the next run looks again")
        values = {"version_number": made.version_number, "session_id": made.session_id}
        reason = f"version {made.version_number} {made.how} and is monitored"
        self.move(attempt, self.step(DEPLOY, reason, values=values, details=values), now)


def key_of(attempt: Attempt) -> str:
    """Return the words by which a deployment is known as that of an attempt."""
    return f"attempt {attempt.attempt_id}, key {attempt.idempotency_key}"
