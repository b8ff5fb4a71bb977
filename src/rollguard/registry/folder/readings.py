"""Read the files of the folder by their syntax trees. Nothing here runs a tool's code."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial

from rollguard.compat import LARGEST, FileForm, Form, form_of, too_large
from rollguard.errors import ToolFileError
from rollguard.model.log import logger_of
from rollguard.registry.folder.folder import FileStamp, Folder
from rollguard.store import digest

logger = logger_of(__name__)

_PARSED = 10_000  # forms that are kept
_READER = f"rules 2, Python {sys.version_info[:2]}"  # count the rules on when `compat.form` changes


@dataclass(frozen=True, slots=True)
class Reading:
    """One file, read.

    Attributes:
        sha256: hash of its bytes.
        read_form: parses it, if that was not done yet.
    """

    sha256: str
    read_form: Callable[[], FileForm]

    @property
    def form(self) -> FileForm:
        """Return what its syntax tree tells."""
        return self.read_form()


class Readings:
    """Reads files, each content once. What was read is kept for other processes too, because parsing takes a while.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept = folder.path / ".rollguard" / "forms.json"
        self._unread, self._changed = True, False
        self._hashes: dict[str, tuple[FileStamp, str]] = {}
        self._forms: dict[tuple[str, str], FileForm] = {}

    def of(self, name: str) -> Reading | None:
        """Return the reading of a tool's file; None without a file.

        Raises:
            ToolFileError: it is not a file, or cannot be read.
        """
        began, stamp = time.time_ns(), self._folder.stamp(name)
        if stamp is None:
            return None
        if stamp.size > LARGEST and not self._folder.is_package(name):
            return Reading(self._hash_of(name, stamp), partial(too_large, stamp.size))
        known = self._hashes.get(name)
        if known is not None and known[0] == stamp:
            return Reading(known[1], partial(self._form_again, name, known[1]))
        code = self._folder.read(name)
        if code is None:
            return None
        reading = self.read(name, code, digest(code))
        if stamp.settled(began):
            self._hashes[name] = stamp, reading.sha256
        return reading

    def _form_again(self, name: str, sha256: str) -> FileForm:
        """Return the form of a file that was not changed since its hash was taken; its bytes are not kept."""
        form = self._forms.get((name, sha256))
        return form or self._form(name, self._folder.read(name) or b"", sha256)

    def _hash_of(self, name: str, stamp: FileStamp) -> str:
        """Return the hash of a large file; its bytes are read again only after a change."""
        known = self._hashes.get(name)
        if known is None or known[0] != stamp:
            try:
                with self._folder.file(name).open("rb") as file:
                    known = self._hashes[name] = stamp, hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise ToolFileError(f"{self._folder.file(name)} cannot be read: {error.strerror or error}") from error
        return known[1]

    def read(self, name: str, code: bytes, sha256: str) -> Reading:
        """Return the reading of a tool's code. It is parsed only if somebody asks what its tree tells."""
        return Reading(sha256, partial(self._form, name, code, sha256))

    def _form(self, name: str, code: bytes, sha256: str) -> FileForm:
        key = (name, sha256)
        if self._unread:
            self._unread = False
            self._forms.update(self._read_kept())
        form = self._forms.get(key)
        if form is None:
            self._changed = True
            if len(self._forms) >= _PARSED:
                self._forms.clear()
            form = self._forms[key] = form_of(code, name)
        return form

    def keep(self) -> None:
        """Keep what was read since the last time. If it cannot be written, other processes read for themselves."""
        if not self._changed:
            return
        self._changed = False
        forms = [[name, sha256, *astuple(form)] for (name, sha256), form in self._forms.items()]
        try:
            self._folder.access.write_whole(self._kept, json.dumps({"by": _READER, "forms": forms}).encode())
        except OSError as error:
            logger.debug("%s cannot be written: %s", self._kept, error)

    def _read_kept(self) -> dict[tuple[str, str], FileForm]:
        try:
            kept = json.loads(self._kept.read_bytes())
            forms = kept["forms"] if kept["by"] == _READER else []
            return {(str(name), str(sha256)): FileForm(Form(form), *more) for name, sha256, form, *more in forms}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            logger.warning("%s cannot be read, so files are read anew: %s", self._kept, error)
            return {}
