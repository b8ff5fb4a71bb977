"""From the command line's words to an open `Rollguard`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rollguard.cli.output import tools_print_to_stderr
from rollguard.errors import InvalidSetting

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.settings import Settings

_HANDLER = "rollguard.cli"


@contextlib.contextmanager
def opened(config: Path | None, *, logs: logging.Handler | None = None) -> Iterator[Rollguard]:
    """The system as the settings describe it, closed again at the end.

    Args:
        config: the settings' file, where one was named.
        logs: where log lines go; by default warnings go to stderr.

    Raises:
        InvalidSetting: there are no settings, or they cannot be meant.
        StoreError, ToolFileError: as `Rollguard`.
    """
    from rollguard.app import Rollguard

    settings = settings_for(config)
    _log_to(logs or _warnings())
    with tools_print_to_stderr():
        guard = Rollguard(settings)
    with guard:
        guard.install_signal_handlers()
        yield guard


def settings_for(config: Path | None) -> Settings:
    """The settings that are meant. Raises `InvalidSetting` where there are none, or they cannot be meant."""
    from rollguard.settings import FILE_NAME, Settings

    settings = Settings.load(config)
    if settings.file is None and "ROLLGUARD_DATABASE" not in os.environ:
        raise InvalidSetting(
            FILE_NAME,
            "there is none in this folder or above it, and ROLLGUARD_DATABASE is not set; "
            "make one with: rollguard init",
        )
    return settings


def _log_to(handler: logging.Handler) -> None:
    handler.set_name(_HANDLER)
    logger = logging.getLogger("rollguard")
    for old in [known for known in logger.handlers if known.get_name() == _HANDLER]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(handler.level)


def _warnings() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Plain())
    # A broken file concerns the commands that name its tool, and `tools`; what breaks callers `deploy` says itself.
    handler.addFilter(
        lambda line: line.name not in ("rollguard.registry.serve.live_tools", "rollguard.registry.deploy.compat_check")
    )
    return handler


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"
