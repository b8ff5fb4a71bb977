"""Load, describe, call and deploy the tools of a folder, and swap their files atomically."""

from rollguard.record.call import IsFailure
from rollguard.record.decorator import FailureRule, either, tool
from rollguard.record.instrument import VersionNumber
from rollguard.registry.deploy.release import Released, code_of_files
from rollguard.registry.deploy.remote import pause_after
from rollguard.registry.deploy.sync import Synced
from rollguard.registry.folder.file_names import name_of
from rollguard.registry.folder.folder import Folder
from rollguard.registry.program import is_of_a_program
from rollguard.registry.registry import ToolRegistry
from rollguard.registry.serve.loader import LoadedTool

__all__ = [
    "FailureRule",
    "Folder",
    "IsFailure",
    "LoadedTool",
    "Released",
    "Synced",
    "ToolRegistry",
    "VersionNumber",
    "code_of_files",
    "either",
    "is_of_a_program",
    "name_of",
    "pause_after",
    "tool",
]
