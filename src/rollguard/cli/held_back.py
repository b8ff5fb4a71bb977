"""Find files of live tools whose code is not served, or is not what is recorded. No file is run for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rollguard.cli.findings import Finding, broken, warning
from rollguard.errors import InvalidToolName, ToolFileError
from rollguard.registry import Folder
from rollguard.store import digest

if TYPE_CHECKING:
    from rollguard.settings import Settings
    from rollguard.store import ExecutionStore, Pointer

_LARGEST = 2**24  # bytes of a file that are compared at once; a larger one is read as usual


def held_back(settings: Settings, store: ExecutionStore, *, unchanged: bool = True) -> Iterator[Finding]:
    """Yield what is wrong with the files of live tools: what they hold is not served, or is not what is recorded.

    Args:
        unchanged: whether it is looked up as well which files that hold the live version do not load.
    """
    if not settings.tools_dir.is_dir():
        return
    folder, live = Folder(settings.tools_dir), live_in_folder(settings, store)
    quarantined = {(held.tool_name, held.sha256) for held in store.quarantine.in_force()}
    for name, pointer in live.items():
        if not unchanged and (name, pointer.sha256) not in quarantined and _holds(folder, pointer):
            continue
        try:
            code = folder.read(name)
        except ToolFileError as error:
            fix = f"move away what is in its place, or make it readable; then {_put_back(pointer)}"
            yield broken("tools", f"{name}: {error}", fix)
            continue
        if code is None:
            says = f"{name}: version {pointer.version_number} is live, and its file is gone"
            yield broken("tools", says, _put_back(pointer))
            continue
        sha256 = digest(code)
        if sha256 != pointer.sha256 or (name, sha256) in quarantined:
            quarantine = (name, sha256) in quarantined
            yield _other_code(folder, store, pointer, sha256, quarantined=quarantine, follows=settings.follow)
        why = _refusal(folder, name, code, sha256)
        if why is not None:
            fix = f"fix the file; or {_put_back(pointer)}"
            yield broken("tools", f"{name}: {folder.file(name)} is not served: {why}", fix)


def _holds(folder: Folder, live: Pointer) -> bool:
    """Return whether the file holds the live version. Nothing is waited for, whatever is in its place."""
    try:
        file = os.open(folder.file(live.tool_name), os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, InvalidToolName):
        return False
    try:
        return digest(os.read(file, _LARGEST)) == live.sha256
    except OSError:
        return False
    finally:
        os.close(file)


def live_in_folder(settings: Settings, store: ExecutionStore) -> dict[str, Pointer]:
    """Return what is live in the folder, by name. The tools of a program, and those withdrawn, are not in it."""
    remote = {name for name, actuator in settings.actuators.items() if actuator.kind != "folder"}
    pointers, programs = store.pointers.moved_since(0), store.releases.of_programs()
    return {
        pointer.tool_name: pointer
        for pointer in sorted(pointers, key=lambda pointer: pointer.tool_name)
        if pointer.tool_name not in remote and (pointer.tool_name, pointer.version_number) not in programs
    }


def _put_back(live: Pointer) -> str:
    name = live.tool_name
    return f"put it back with: rollguard show {name} {live.version_number} --code | rollguard deploy - --tool {name}"


def _other_code(
    folder: Folder, store: ExecutionStore, live: Pointer, sha256: str, *, quarantined: bool, follows: bool
) -> Finding:
    """Return what it means that the file of a tool holds other code than the live version."""
    name, number, put_back = live.tool_name, live.version_number, _put_back(live)
    if quarantined:
        says = f"{name}: version {number} is live, and its file holds code that is in quarantine"
        return broken("tools", says, f"{put_back}; or allow it with: rollguard deploy {folder.file(name)} --force")
    held = store.versions.find(name, sha256)
    if held is None:
        says = f"{name}: version {number} is live, and its file holds code that is no version yet: "
        says += "it was edited by hand, or the database is a restored backup"
        fix = f"its first call makes it live; or deploy it with: rollguard deploy {folder.file(name)}; or {put_back}"
        return warning("tools", says, fix)
    says = f"{name}: version {number} is live, and its file holds version {held.version_number}"
    if not follows:
        return warning("tools", says, f"with follow = false that may be intended; if it is not, {put_back}")
    says += f"; processes that start serve version {number}"
    fix = "a process that serves the folder follows within a second, unless somebody changed the file since: "
    fix += "check its log and its right to write here"
    backup = f"to make version {held.version_number} live, deploy it: rollguard deploy {folder.file(name)}"
    return broken("tools", says, f"{fix}; or, {backup}; or {put_back}")


def _refusal(folder: Folder, name: str, code: bytes, sha256: str) -> str | None:
    """Return why a file is not served, as far as that is known without running it."""
    from rollguard.compat import Form, form_of
    from rollguard.registry.serve.load_checks import LoadChecks

    check = LoadChecks(folder.path, writes=False).known(name, sha256)
    if check is not None:
        return None if check.loads else check.error
    form = form_of(code, name)
    return form.says if form.form in (Form.NONE, Form.BROKEN) else None
