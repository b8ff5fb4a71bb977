"""What rollbacks, the loop and monitors need of a registry, beside what agents and people use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from rollguard.model.version import Version
from rollguard.record import Recorder
from rollguard.record.call_marks import CallMarks
from rollguard.registry.deploy.deployer import Deployer
from rollguard.registry.deploy.file_swap import FileSwap
from rollguard.registry.deploy.hand_edits import keep_hand_edit
from rollguard.registry.folder.folder import Folder
from rollguard.registry.serve.live_tools import LiveTools
from rollguard.registry.serve.origins import Monitor
from rollguard.store import ExecutionStore


class Upkeep:
    """Swaps of files, edits by hand and ended calls of a `ToolRegistry`."""

    store: ExecutionStore
    folder: Folder
    recorder: Recorder
    _marks: CallMarks
    _live_tools: LiveTools
    _file_swap: FileSwap
    _deployer: Deployer

    def put(self, version: Version) -> None:
        """Swap a version's code into its tool's file, and serve it from the next call on. The database is not used.

        Raises:
            ToolFileError: the file cannot be written.
        """
        self._file_swap.put(version)

    def swapping(self, tool_name: str) -> AbstractContextManager[Callable[[Version | None], None]]:
        """Return `put` for a transaction that makes a version of the tool live; see `FileSwap.journaled`."""
        return self._file_swap.journaled(tool_name)

    def made_live_here(self, tool_name: str) -> None:
        """Remember that the tool's file has the live version, so that later differences are edits by hand."""
        self._deployer.made_live_here(tool_name)

    def settle_swaps(self, tool_name: str | None = None) -> list[str]:
        """Settle swaps that a crash or the database interrupted, so that file and database agree.

        A process may die between the swap of a file and the commit. Rollguard therefore calls this when it opens a
        registry, before a deployment, and in every cycle of a loop. It returns the tools whose file was corrected.

        Raises:
            StoreUnavailable: the database cannot be reached; the swaps are settled when it is back.
        """
        return self._deployer.settle(tool_name)

    def collect_ended_calls(self) -> int:
        """Record calls that ended their process as failures of their version, each once, and return their number."""
        return self._marks.collect(self.recorder.deliver)

    def keep_hand_edit(self, tool_name: str) -> Version | None:
        """Store the tool's file as a version if it is none yet, so that a restore does not lose it."""
        return keep_hand_edit(self.folder, self.store, tool_name)

    def monitor_edits_with(self, monitor: Monitor) -> None:
        """Have edits in the folder monitored from the moment that they go live. `DeploymentMonitor` calls it."""
        self._live_tools.origins.monitor_with(monitor)
