"""What each file of the folder of tools is, and is not. No file is run for it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING

from rollguard.compat import Form
from rollguard.errors import ToolFileError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rollguard.registry import Folder
    from rollguard.registry.folder.readings import Readings
    from rollguard.settings import Settings


class FileKind(StrEnum):
    """What a file is."""

    TOOL = "tool"
    NONE = "no tool"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class FolderFile:
    """One entry of the folder.

    Attributes:
        file: the entry's name.
        name: the tool's name; the entry's own if it is ignored.
        kind: what it is.
        says: why it is no tool for sure; empty for a tool.
    """

    file: str
    name: str
    kind: FileKind
    says: str = ""


_KINDS = {
    Form.TOOL: FileKind.TOOL,
    Form.NONE: FileKind.NONE,
    Form.BROKEN: FileKind.BROKEN,
    Form.UNKNOWN: FileKind.UNKNOWN,
}


def files_of(folder: Folder, readings: Readings | None = None) -> list[FolderFile]:
    """Return what each entry of the folder is, by name. Entries that begin with a dot are left out.

    Args:
        readings: what is known of the files already.

    Raises:
        ToolFileError: the folder cannot be read.
    """
    from rollguard.registry.folder.readings import Readings
    from rollguard.registry.serve.load_checks import LoadChecks

    readings, checks = readings or Readings(folder), LoadChecks(folder.path, writes=False)
    found = []
    for name in folder.names():
        file = folder.file(name).name
        try:
            reading = readings.of(name)
        except ToolFileError as error:
            found.append(FolderFile(file, name, FileKind.BROKEN, str(error)))
            continue
        if reading is None:  # deleted since the listing
            continue
        check = checks.known(name, reading.sha256)
        if check is None:
            found.append(FolderFile(file, name, _KINDS[reading.form.form], reading.form.says))
        elif check.loads:
            found.append(FolderFile(file, name, FileKind.TOOL))
        else:
            found.append(FolderFile(file, name, FileKind.BROKEN, str(check.error)))
    found += _ignored(folder, {entry.file for entry in found})
    return sorted(found, key=lambda entry: entry.file)


def unused_sections(settings: Settings, known: Collection[str]) -> Iterator[str]:
    """Yield, for each `[tools.NAME]` of the settings that names no known tool, what is wrong."""
    for name in sorted({*settings.tools, *settings.failure_rules, *settings.actuators} - set(known)):
        remote = name in settings.actuators and settings.actuators[name].kind != "folder"
        if not remote:  # the first deployment of a remote tool is still to come
            (near,) = get_close_matches(name, known, 1) or ("",)
            meant = f"; did you mean [tools.{near}]?" if near else ""
            yield f"[tools.{name}] names no tool that is in the folder, live or recorded{meant}"


def _ignored(folder: Folder, known: set[str]) -> Iterator[FolderFile]:
    misnamed = set(folder.misnamed())
    for entry in folder.path.iterdir():
        if entry.name in known or entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.suffix != ".py":
            says = "a folder" if entry.is_dir() else "no Python file"
        elif entry.stem in misnamed:
            says = "no tool can have that name"
        else:
            says = "its name begins with '_'"
        yield FolderFile(entry.name, entry.name, FileKind.IGNORED, says)
