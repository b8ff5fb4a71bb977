"""Load, describe, call and deploy the tools of a folder, and swap their files atomically."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollguard.record.call import IsFailure
    from rollguard.record.decorator import FailureRule, either, tool
    from rollguard.record.instrument import VersionNumber
    from rollguard.registry.deploy.deployer import bytes_of
    from rollguard.registry.deploy.release import Released, code_of_files
    from rollguard.registry.deploy.remote import pause_after
    from rollguard.registry.deploy.sync import Synced
    from rollguard.registry.folder.file_names import name_of
    from rollguard.registry.folder.folder import Folder
    from rollguard.registry.program import is_of_a_program
    from rollguard.registry.registry import ToolRegistry
    from rollguard.registry.serve.loader import LoadedTool

# Imported when first used, so that a command that only reads does not wait for what serves tools.
_HOMES = {
    "FailureRule": "record.decorator",
    "Folder": "registry.folder.folder",
    "IsFailure": "record.call",
    "LoadedTool": "registry.serve.loader",
    "Released": "registry.deploy.release",
    "Synced": "registry.deploy.sync",
    "ToolRegistry": "registry.registry",
    "VersionNumber": "record.instrument",
    "bytes_of": "registry.deploy.deployer",
    "code_of_files": "registry.deploy.release",
    "either": "record.decorator",
    "is_of_a_program": "registry.program",
    "name_of": "registry.folder.file_names",
    "pause_after": "registry.deploy.remote",
    "tool": "record.decorator",
}

__all__ = [
    "FailureRule",
    "Folder",
    "IsFailure",
    "LoadedTool",
    "Released",
    "Synced",
    "ToolRegistry",
    "VersionNumber",
    "bytes_of",
    "code_of_files",
    "either",
    "is_of_a_program",
    "name_of",
    "pause_after",
    "tool",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rollguard.registry' has no attribute {name!r}")
    value = getattr(import_module(f"rollguard.{home}"), name)
    globals()[name] = value
    return value
