"""What each file of the folder holds now, read again only when it changed."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from rollguard.errors import StoreUnavailable, ToolLoadError, UnknownTool
from rollguard.registry.folder import FileStamp, Folder, checked_file_name
from rollguard.registry.source import LoadedTool, load
from rollguard.store import ExecutionStore, digest

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Served:
    """One file: the tool it holds, or why it holds none.

    Attributes:
        held: the tool, or the error that made it none.
        version_number: the version the file's code is; None while it is not known, or where it is none.
    """

    stamp: FileStamp
    sha256: str
    held: LoadedTool | ToolLoadError
    version_number: int | None = None
    version_known: bool = False

    @property
    def tool(self) -> LoadedTool | None:
        """The tool, if the file holds one."""
        return self.held if isinstance(self.held, LoadedTool) else None

    @property
    def problem(self) -> ToolLoadError | None:
        """Why the file holds none."""
        return self.held if isinstance(self.held, ToolLoadError) else None

    def loaded(self) -> LoadedTool:
        """The tool, or its `ToolLoadError`."""
        if isinstance(self.held, ToolLoadError):
            raise self.held
        return self.held


class Serving:
    """The tools of a folder as this process serves them. Safe to use from many threads."""

    def __init__(self, folder: Folder, store: ExecutionStore) -> None:
        self._folder = folder
        self._store = store
        self._served: dict[str, Served] = {}
        self._lock = threading.RLock()

    def current(self, name: str) -> Served:
        """What the tool's file holds at this moment.

        Raises:
            InvalidToolName: no file could bear that name.
            UnknownTool: there is no such file.
            ToolFileError: it cannot be read.
        """
        served = self._served.get(name)
        if served is None:
            checked_file_name(name)
        stamp = self._folder.stamp(name)
        if stamp is None:
            known = ", ".join(self._folder.names()) or "none"
            raise UnknownTool(f"there is no tool {name!r} in {self._folder.path}; there are: {known}")
        if served is None or served.stamp != stamp:
            with self._lock:
                served = self._load(name, stamp)
        if not served.version_known:
            self._look_up_version(name, served)
        return served

    def refresh(self) -> None:
        """Look at every file again."""
        with self._lock:
            names = self._folder.names()
            for gone in set(self._served) - set(names):
                del self._served[gone]
            for name in names:
                try:
                    self.current(name)
                except UnknownTool:  # deleted since the listing
                    self._served.pop(name, None)

    def forget(self, name: str) -> None:
        """Read the tool's file anew at its next use."""
        with self._lock:
            self._served.pop(name, None)

    def all(self) -> dict[str, Served]:
        """Every file as it was last looked at, by name."""
        with self._lock:
            return dict(sorted(self._served.items()))

    def _load(self, name: str, stamp: FileStamp) -> Served:
        known = self._served.get(name)
        if known is not None and known.stamp == stamp:  # another thread was first
            return known
        code = self._folder.read(name)
        if code is None:
            raise UnknownTool(f"{name!r} was deleted from {self._folder.path}")
        sha256 = digest(code)
        held = known.held if known is not None and known.sha256 == sha256 else self._try(name, code, sha256)
        served = Served(stamp, sha256, held)
        self._served[name] = served
        return served

    def _try(self, name: str, code: bytes, sha256: str) -> LoadedTool | ToolLoadError:
        try:
            return load(name, code, self._folder.file(name), sha256)
        except ToolLoadError as error:
            logger.error("%s", error)
            return error

    def _look_up_version(self, name: str, served: Served) -> None:
        try:
            version = self._store.versions.find(name, served.sha256)
        except StoreUnavailable as error:  # the call goes on; the next one asks again
            logger.warning("the version of %s is not known yet: %s", name, error)
            return
        served.version_number = version.version_number if version else None
        served.version_known = True
