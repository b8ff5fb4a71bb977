"""Tools on disk: load, describe, call, deploy, swap atomically."""

from rollguard.registry.elsewhere import pause_after
from rollguard.registry.folder import Folder
from rollguard.registry.marks import FailureRule, tool
from rollguard.registry.registry import ToolRegistry
from rollguard.registry.source import LoadedTool

__all__ = ["FailureRule", "Folder", "LoadedTool", "ToolRegistry", "pause_after", "tool"]
