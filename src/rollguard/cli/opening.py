"""Open a `Rollguard` from the command line's settings."""

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
_DATABASE = "rollguard.db"  # the default's


@contextlib.contextmanager
def opened(
    config: Path | None, *, adopt: bool = True, must_answer: bool = True, logs: logging.Handler | None = None
) -> Iterator[Rollguard]:
    """Yield the system that the settings describe, and close it at the end.

    Args:
        config: the file of settings, if one was named.
        adopt: False for a command that only reads: it changes neither the folder nor the database.
        must_answer: False for a command that can do without the database.
        logs: the handler of log lines; by default warnings go to stderr.

    Raises:
        InvalidSetting: there are no settings, or one is invalid.
        StoreError, ToolFileError: as `Rollguard`.
    """
    from rollguard.app import Rollguard

    settings = settings_for(config)
    _log_to(logs or _warnings())
    with importable(settings):
        with tools_print_to_stderr():
            guard = Rollguard(settings, adopt=adopt, must_answer=must_answer)
        with guard:
            if adopt:
                guard.install_signal_handlers()
            yield guard


@contextlib.contextmanager
def importable(settings: Settings) -> Iterator[None]:
    """Let tools import the modules of the project, as in a program that is started there; installed ones come first."""
    project = settings.file.parent if settings.file else Path.cwd()
    sys.path.append(str(project))
    try:
        yield
    finally:
        sys.path.remove(str(project))


def settings_for(config: Path | None) -> Settings:
    """Return the settings to use: without a file and the environment the defaults, where a program used them already.

    Raises:
        InvalidSetting: there are no settings and no `rollguard.db` here, or one is invalid.
    """
    from rollguard.settings import FILE_NAME, Settings

    settings = Settings.load(config)
    if settings.file is None and "ROLLGUARD_DATABASE" not in os.environ and not Path(_DATABASE).exists():
        raise InvalidSetting(
            FILE_NAME,
            f"there is none in this folder or above it, ROLLGUARD_DATABASE is not set, and there is no {_DATABASE} "
            "here; make one with: rollguard init",
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
    # Commands that name a broken tool, and `tools`, report it themselves; `deploy` reports what breaks callers.
    handler.addFilter(
        lambda line: line.name not in ("rollguard.registry.serve.live_tools", "rollguard.registry.deploy.compat_check")
    )
    return handler


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"
