"""The stage that deploys what was approved: it writes the intention, acts with the key, and confirms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rollguard.errors import AttemptClosed, DeploymentConflict, RollguardError, StoreError
from rollguard.loop.improvement.approvals import Approvals
from rollguard.loop.improvement.work import AttemptStage, Improvement
from rollguard.model.attempt import DEPLOY, FAIL, INTEND, VOID, Attempt, State, Why
from rollguard.model.given import checked_now
from rollguard.model.version import Deployment
from rollguard.store import nothing_else_is_open

_LONGEST_REASON = 4_000


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
        self._approvals = Approvals(parts.store, parts.rules.approval)

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
        deployment = self._deployment_of(attempt)
        if deployment is None:
            if {None, attempt.tool_name} & self.store.freezes.all().keys():
                return self.leave(attempt)
            try:
                self._act(attempt, now)
            except StoreError:
                raise  # it is unknown what was done: the next run finds out
            except DeploymentConflict as error:
                self.move(attempt, self.step(VOID, str(error), why=Why.BASE_CHANGED), now)
                return {}
            except RollguardError as error:
                self.move(attempt, self.step(FAIL, str(error), why=Why.ERROR, values=self.cooling(attempt, now)), now)
                return {"improvements_failed": 1}
            deployment = self._deployment_of(attempt)
        self._confirm(attempt, deployment, now)
        return {"improvements_deployed": 1}

    def _intended(self, attempt: Attempt, now: datetime | None) -> Attempt:
        """Write the intention. It stays this stage's, so that no other loop acts on it."""
        step = self.step(INTEND, f"version {attempt.base_version} is live, as it was")
        return self.move(attempt, step, now, conditions=[nothing_else_is_open], keep_lease=True)

    def _act(self, attempt: Attempt, now: datetime | None) -> None:
        proposal = attempt.proposal or {}
        by = [f"model {proposal['model']}"] if proposal.get("model") else []
        by += [f"prompt sha256 {proposal['prompt_sha256']}"] if proposal.get("prompt_sha256") else []
        why = str(proposal.get("reason") or "a repair")[:_LONGEST_REASON]
        self.parts.deploy(
            attempt.tool_name,
            attempt.candidate or b"",
            reason=f"{why} ({', '.join([*by, key_of(attempt)])})",
            created_by=attempt.author or self.name,
            kind="improvement",
            deployed_at=now,
            replaces=attempt.base_sha256,
        )

    def _deployment_of(self, attempt: Attempt) -> Deployment | None:
        """Return the deployment that this attempt made, if it did."""
        mark = key_of(attempt)
        made = self.store.versions.deployments(attempt.tool_name)
        return next((one for one in made if mark in (one.reason or "")), None)

    def _confirm(self, attempt: Attempt, deployment: Deployment | None, now: datetime | None) -> None:
        if deployment is None:
            raise RollguardError(f"{attempt.tool_name}: its deployment is not recorded; the next run looks again")
        sessions = self.store.sessions.recent(tool_name=attempt.tool_name)
        session = next(
            (
                one
                for one in sessions
                if one.version_number == deployment.version_number and one.deployment_time == deployment.monitored_from
            ),
            None,
        )
        values = {
            "version_number": deployment.version_number,
            "session_id": None if session is None else session.session_id,
        }
        reason = f"version {deployment.version_number} is live and monitored"
        self.move(attempt, self.step(DEPLOY, reason, values=values, details=values), now)


def key_of(attempt: Attempt) -> str:
    """Return the words by which a deployment is known as that of an attempt."""
    return f"attempt {attempt.attempt_id}, key {attempt.idempotency_key}"
