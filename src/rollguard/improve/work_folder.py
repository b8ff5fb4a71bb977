"""The folder that a program works in: what it is given, and the one file that is read back."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rollguard.compat import LARGEST
from rollguard.errors import ImproverFailed
from rollguard.improve.brief import Brief
from rollguard.record.decorator import FailureRule
from rollguard.rehearse import RehearsalRules
from rollguard.sandbox import Isolation
from rollguard.sandbox.work_folder import WorkFolder

TOOL = "tool.py"
_FILE_BYTES = 64 * 1024 * 1024  # of the largest file; all together may have four times as much
_CHECK = """\
#!/bin/sh
cd "$(dirname "$0")" && exec {python} -I check.py
"""
_CHECK_PY = '''\
"""Check tool.py: its source, and the recorded calls of cases.json, in the sandbox. Exit code 0 is good."""

import sys
from pathlib import Path

from rollguard.improve.check import main

sys.exit(main(Path(__file__).parent))
'''


@dataclass(frozen=True, slots=True)
class CheckRules:
    """What the check of a work folder goes by, as the gate does.

    Attributes:
        rules: the settings of the tool's rehearsals.
        failure: which returned results are failures.
        isolation, libraries: the settings of the sandbox.
    """

    rules: RehearsalRules = field(default_factory=RehearsalRules)
    failure: FailureRule | None = None
    isolation: Isolation = Isolation.REQUIRED
    libraries: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "rules": self.rules.model_dump(mode="json"),
            "failure": None if self.failure is None else asdict(self.failure),
            "isolation": self.isolation.value,
            "libraries": list(self.libraries),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CheckRules:
        """Return what `to_dict` wrote."""
        failure = values["failure"]
        return cls(
            RehearsalRules.model_validate(values["rules"]),
            None if failure is None else FailureRule(tuple(failure["keys"]), failure["values"]),
            Isolation(values["isolation"]),
            values["libraries"],
        )


class ToolFolder:
    """A private folder with a brief, removed at the end of a `with`.

    It holds `brief.md`, `brief.json`, `cases.json`, `tool.py` and `check`, which runs the recorded calls.

    Args:
        brief: what the author gets to know.
        check: what the check goes by.

    Attributes:
        path: where it is.
        prompt_sha256: the hash of `brief.md`.
    """

    def __init__(self, brief: Brief, check: CheckRules) -> None:
        self._folder = WorkFolder(_FILE_BYTES)
        self.path = Path(self._folder.path)
        self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            write_folder(self.path, brief, check)
            self._given = self.tool()
            self.prompt_sha256 = hashlib.sha256((self.path / "brief.md").read_bytes()).hexdigest()
        except BaseException:
            self.close()
            raise

    def too_full(self) -> str | None:
        """Return what is too much in it, or None."""
        return self._folder.too_full()

    def changed(self) -> bytes | None:
        """Return the tool's source if it was changed.

        Raises:
            ImproverFailed: `tool.py` is no plain file any more, or is too large.
        """
        found = self.tool()
        return None if found == self._given else found

    def tool(self) -> bytes:
        """Return what is in `tool.py`: of this folder, whatever was put in its place. No link is followed."""
        try:
            # A pipe in its place would wait for ever for somebody who writes to it.
            file = os.open(TOOL, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._handle)
        except OSError as error:
            raise ImproverFailed(f"{TOOL} cannot be read: {error.strerror}") from error
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            os.close(file)
            raise ImproverFailed(f"{TOOL} is no plain file of the work folder any more")
        with os.fdopen(file, "rb") as opened:
            found = opened.read(LARGEST + 1)
        if len(found) > LARGEST:
            raise ImproverFailed(f"{TOOL} is larger than {LARGEST:,} bytes")
        return found

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        os.close(self._handle)
        self._folder.close()

    def __enter__(self) -> ToolFolder:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def write_folder(folder: Path, brief: Brief, check: CheckRules) -> None:
    """Write what an author works with into a folder."""
    said = brief.to_dict()
    cases = [{**case, "failed": not case["success"]} for case in (*said.pop("failing"), *said.pop("passing"))]
    files = {
        "brief.md": f"{brief.to_markdown()}\n{_HOW}",
        "brief.json": _json(said),
        "cases.json": _json(cases),
        "check.json": _json(check.to_dict()),
        "check.py": _CHECK_PY,
        "check": _CHECK.format(python=shlex.quote(sys.executable)),
        TOOL: brief.source,
    }
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / "check").chmod(0o700)


_HOW = """\
## How to hand it in

Edit `tool.py` in this folder, or print the whole source and nothing else. Nothing else is read back. `./check` runs the
calls of `cases.json` with your `tool.py` in a sandbox and says what the gate would say of them. `brief.json` has this
brief as data.
"""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
