"""Settings from `rollguard.toml` and the environment."""

from rollguard.settings.sections import (
    ActuatorSettings,
    NotifySettings,
    RecordSettings,
    RedactSettings,
    SandboxSettings,
    ServiceSettings,
    SharedActuatorSettings,
    WatchSettings,
)
from rollguard.settings.settings import FILE_NAME, Settings, find_file, toml_value

__all__ = [
    "FILE_NAME",
    "ActuatorSettings",
    "NotifySettings",
    "RecordSettings",
    "RedactSettings",
    "SandboxSettings",
    "ServiceSettings",
    "Settings",
    "SharedActuatorSettings",
    "WatchSettings",
    "find_file",
    "toml_value",
]
