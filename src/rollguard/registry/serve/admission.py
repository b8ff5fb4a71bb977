"""Decide which code of the folder may run in this process: what is a tool by its syntax tree, and loaded elsewhere."""

from __future__ import annotations

from rollguard.compat import Form
from rollguard.errors import StoreError, ToolFileError, ToolLoadError
from rollguard.model.log import logger_of
from rollguard.registry.folder.folder import Folder
from rollguard.registry.folder.readings import Reading, Readings
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.sandbox import ChildNotStarted
from rollguard.store import ExecutionStore, digest

logger = logger_of(__name__)


class Admission:
    """Knows which code may run.

    Args:
        folder: the folder of tools.
        store: knows what was deployed.
        checks: whether code loads.

    Attributes:
        checks: the argument.
        readings: what the syntax trees of the files tell.
    """

    def __init__(self, folder: Folder, store: ExecutionStore, checks: LoadChecks) -> None:
        self._folder = folder
        self._store = store
        self.checks = checks
        self.readings = Readings(folder)

    def admit(self, name: str, code: bytes, sha256: str) -> None:
        """Return if code of a file may run in this process; run it in a child process first, if that is to be done.

        Raises:
            ToolLoadError: it may not; the message says why.
        """
        refusal = self.refusal(name, self.readings.read(name, code, sha256))
        if refusal is not None:
            raise refusal
        try:
            self._check(name, code, sha256)
        except ChildNotStarted as error:
            if not self._was_deployed(name, sha256):  # what was deployed was checked then
                raise self._refused(name, str(error)) from error
            logger.warning("%s is served without a check: %s", name, error)

    def refuse_unloadable(self, name: str, code: bytes) -> None:
        """Raise `ToolLoadError` if code that somebody deploys is no tool that loads."""
        sha256 = digest(code)
        form = self.readings.read(name, code, sha256).form
        if form.form in (Form.NONE, Form.BROKEN):
            raise self._refused(name, form.says)
        try:
            self._check(name, code, sha256)
        except ChildNotStarted as error:
            raise self._refused(name, str(error)) from error

    def refusal(self, name: str, reading: Reading) -> ToolLoadError | None:
        """Return why code is not run, by its syntax tree or by a check on this machine; None if it may be run."""
        check = self.checks.known(name, reading.sha256)
        if check is not None:
            return None if check.loads else self._refused(name, check.error)
        if reading.form.form in (Form.NONE, Form.BROKEN):
            return self._refused(name, reading.form.says)
        if reading.form.form is Form.UNKNOWN and not self._was_deployed(name, reading.sha256):
            return self._refused(name, f"{reading.form.says}; deploy it, if it is a tool: rollguard deploy")
        return None

    def must_be_checked(self, name: str, code: bytes, sha256: str) -> bool:
        """Return whether code has to run in a child process before it may run here."""
        if self.checks.known(name, sha256) is not None:
            return False
        return self.refusal(name, self.readings.read(name, code, sha256)) is None

    def is_waiting(self, name: str) -> bool:
        """Return whether the code of a file has to be checked."""
        try:
            code = self._folder.read(name)
        except ToolFileError:
            return False
        return code is not None and self.must_be_checked(name, code, digest(code))

    def descriptions(self) -> dict[str, tuple[str, str | None]]:
        """Return the hash and the description of each file that may be a tool, by name. No file is run."""
        found = {}
        for name in self._folder.names():
            try:
                reading = self.readings.of(name)
            except ToolFileError:  # `problems` names it
                continue
            if reading is not None and reading.form.form in (Form.TOOL, Form.UNKNOWN):
                description = reading.form.description
                if description is None and reading.form.own_definition:
                    check = self.checks.known(name, reading.sha256)
                    description = str(((check and check.definition) or {}).get("description") or "")
                found[name] = (reading.sha256, description)
        return found

    def _check(self, name: str, code: bytes, sha256: str) -> None:
        check = self.checks.of(name, code, sha256)
        if not check.loads:
            raise self._refused(name, check.error)

    def _refused(self, name: str, why: str | None) -> ToolLoadError:
        return ToolLoadError(f"{self._folder.file(name)}: {why}")

    def _was_deployed(self, name: str, sha256: str) -> bool:
        try:
            version = self._store.versions.find(name, sha256)
        except StoreError as error:
            logger.warning("whether %s was deployed is not known yet: %s", name, error)
            return False
        return version is not None and version.kind != "edit"
