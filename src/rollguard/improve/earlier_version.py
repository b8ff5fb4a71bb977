"""`EarlierVersion`: propose the version that was live before the one that brought the failures. No model is asked."""

from __future__ import annotations

from rollguard.compat import changes
from rollguard.improve.brief import Brief
from rollguard.improve.proposal import Proposal
from rollguard.model.version import last_good
from rollguard.store import ExecutionStore


class EarlierVersion:
    """Goes back to the version that was better, where the first cause is "since version N".

    Its evidence is that cause. It proposes the bytes of the last good version before N: one that was live, was not
    rolled back, is not in quarantine, and breaks no caller of the live one.

    Args:
        store: the versions.
        name: names it in versions and reports.
    """

    def __init__(self, store: ExecutionStore, *, name: str = "earlier_version") -> None:
        self.name, self._store = name, store

    def propose(self, brief: Brief) -> Proposal | None:
        """Return the earlier version; None if the evidence names none that may go live again."""
        since, tool_name = brief.since_version, brief.tool_name
        if since is None:
            return None
        versions = {version.version_number: version for version in self._store.versions.history(tool_name)}
        live = next((version for version in versions.values() if version.sha256 == brief.base_sha256), None)
        if live is None or live.version_number < since:
            return None
        refused = {entry.version_number for entry in self._store.quarantine.in_force(tool_name)}
        later = {number for number in versions if number >= since}
        number = last_good(self._store.versions.deployments(tool_name), not_one_of=later | refused)
        earlier = None if number is None else versions.get(number)
        if earlier is None or any(change.breaking for change in changes(live.code, earlier.code, tool_name)):
            return None
        reason = f"back to version {number}, since calls fail {brief.causes[0]['text']}"
        return Proposal(earlier.code, self.name, reason)
