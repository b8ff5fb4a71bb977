"""A folder's record of the deployments that it has, which shows later edits by hand."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

from rollguard.model.file_access import FileAccess
from rollguard.model.log import logger_of
from rollguard.record.fork_safety import renew_after_fork
from rollguard.store import ExecutionStore

logger = logger_of(__name__)


class ReplicaState:
    """For each tool of a folder, the last deployment that the folder followed or made; shared by its processes.

    The record is a file beside the spool. If it cannot be written, the process keeps the record in memory.

    Args:
        folder: the folder of tools.
        store: the store of the deployments; a record of another database is ignored.
        access: who may read the record.
    """

    def __init__(self, folder: Path, store: ExecutionStore, access: FileAccess = FileAccess.OWNER) -> None:
        self._access = access
        self._path = folder / ".rollguard" / "followed.json"
        self._database = hashlib.sha256(str(store.database).encode()).hexdigest()[:12]
        self._known: dict[str, int] = {}
        self._replaced: dict[str, str] = {}
        self._lock = threading.Lock()
        renew_after_fork(self, "_lock", threading.Lock)

    def all(self) -> dict[str, int]:
        """Return the deployment of each tool, also those that other processes of the machine recorded."""
        with self._lock:
            self._read()
            return dict(self._known)

    def of(self, tool_name: str) -> int | None:
        """Return the tool's deployment; None if the folder never had the tool."""
        return self.all().get(tool_name)

    def replaced(self, tool_name: str) -> str | None:
        """Return the hash of the code that the folder held before it last followed; None if a person changed it since.

        A program that keeps a folder at some revision puts this code back; it must not make it live.
        """
        with self._lock:
            self._read()
            return self._replaced.get(tool_name)

    def record(self, deployments: dict[str, int], *, replaced: str | None = None) -> None:
        """Record that the folder has these deployments, by tool name. Raise nothing.

        Args:
            replaced: the hash of the code that was written over, if the folder followed.
        """
        with self._lock:
            self._read()
            newer = {name: number for name, number in deployments.items() if number > self._known.get(name, 0)}
            if newer:
                self._known.update(newer)
                for name in newer:
                    self._replaced.pop(name, None)
                    if replaced is not None:
                        self._replaced[name] = replaced
                self._write()

    def forget(self) -> None:
        """Forget all deployments, because the database is a new one."""
        with self._lock:
            logger.warning("%s belongs to an earlier database, so it begins anew", self._path)
            self._known, self._replaced = {}, {}
            self._write()

    def _read(self) -> None:
        try:
            kept = json.loads(self._path.read_bytes())
            if kept["database"] == self._database:
                replaced = dict(kept.get("replaced", {}))
                for name, number in kept["deployments"].items():
                    if int(number) > self._known.get(name, 0):
                        self._known[name] = int(number)
                        self._replaced.pop(name, None)
                        if name in replaced:
                            self._replaced[name] = str(replaced[name])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("%s cannot be read, so it is made anew: %s", self._path, error)

    def _write(self) -> None:
        known, replaced = dict(sorted(self._known.items())), dict(sorted(self._replaced.items()))
        text = json.dumps({"database": self._database, "deployments": known, "replaced": replaced})
        try:
            self._access.write_whole(self._path, text.encode())
        except OSError as error:
            logger.debug("%s cannot be written, so only this process remembers: %s", self._path, error)
