"""`EarlierVersion`: undo what the version that brought the failures changed. No model is asked."""

from __future__ import annotations

from rollguard.compat import changes
from rollguard.improve.brief import Brief
from rollguard.improve.proposal import Proposal
from rollguard.improve.undo import undone
from rollguard.model.version import last_good
from rollguard.store import ExecutionStore


class EarlierVersion:
    """Goes back to the version that was better, where the first cause is "since version N".

    Its evidence is that cause. If N is live, it proposes the bytes of the last good version before N: one that was
    live, was not rolled back, is not in quarantine, and breaks no caller of the live one. If a later version is live,
    it undoes what N changed against that version, and keeps what was changed since, if these are other lines.

    Args:
        store: the versions.
        name: names it in versions and reports.
    """

    def __init__(self, store: ExecutionStore, *, name: str = "earlier_version") -> None:
        self.name, self._store = name, store

    def propose(self, brief: Brief) -> Proposal | None:
        """Return the source without the change; None if the evidence names none, or nothing may go live again."""
        since, tool_name = brief.since_version, brief.tool_name
        versions = {version.version_number: version for version in self._store.versions.history(tool_name)}
        live = next((version for version in versions.values() if version.sha256 == brief.base_sha256), None)
        if since is None or since not in versions or live is None or live.version_number < since:
            return None
        refused = {entry.version_number for entry in self._store.quarantine.in_force(tool_name)}
        later = {number for number in versions if number >= since}
        number = last_good(self._store.versions.deployments(tool_name), not_one_of=later | refused)
        if number is None or number not in versions:
            return None
        earlier, cause = versions[number].code, brief.causes[0]["text"]
        if live.version_number == since:
            source, reason = earlier, f"back to version {number}, since calls fail {cause}"
        else:
            found = undone(earlier, versions[since].code, live.code)
            if found is None:
                return None
            source = found
            reason = f"undoes what version {since} changed against version {number}, since calls fail {cause}"
        if any(change.breaking for change in changes(live.code, source, tool_name)):
            return None
        return Proposal(source, self.name, reason)
