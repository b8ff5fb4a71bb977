"""Say why files of the folder are not served as they are."""

from __future__ import annotations

from collections.abc import Mapping

from rollguard.errors import ToolFileError
from rollguard.registry.folder.folder import Folder
from rollguard.registry.serve.admission import Admission
from rollguard.registry.serve.served import Served


def problems_of(folder: Folder, admission: Admission, served_tools: Mapping[str, Served]) -> dict[str, str]:
    """Return why files are not served as they are now, by name. It reads syntax trees and runs nothing."""
    found = {
        name: f"{name}.py cannot be a tool's file: use letters, digits, '_', '-' and '.', with '+' for '/'"
        for name in folder.misnamed()
    }
    for name in folder.names():
        served = served_tools.get(name)
        try:
            if served is not None and served.is_as_on_disk(folder.stamp(name)):
                continue
            reading = admission.readings.of(name)
        except ToolFileError as error:
            found[name] = str(error)
            continue
        if reading is None:  # deleted since the listing
            continue
        problem = None if served is None else served.refusal_of(reading.sha256)
        if problem is None and (served is None or served.sha256 != reading.sha256):
            problem = admission.refusal(name, reading)
        if problem is not None:
            found[name] = str(problem)
    return found
