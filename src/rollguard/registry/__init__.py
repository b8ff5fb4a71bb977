"""Tools on disk: load, describe, call, deploy, swap atomically."""

from rollguard.registry.calling import IsFailure
from rollguard.registry.elsewhere import pause_after
from rollguard.registry.folder import Folder
from rollguard.registry.marks import FailureRule, either, tool
from rollguard.registry.registry import ToolRegistry
from rollguard.registry.self_recording import VersionNumber
from rollguard.registry.source import LoadedTool

__all__ = [
    "FailureRule",
    "Folder",
    "IsFailure",
    "LoadedTool",
    "ToolRegistry",
    "VersionNumber",
    "either",
    "pause_after",
    "tool",
]
