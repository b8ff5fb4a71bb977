"""A folder of its own for one run: copies of the tools and of their inputs, the settings and the database."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rollguard import ExecutionStore, Rollguard

HERE = Path(__file__).parent
TOOLS = tuple(sorted(file.stem for file in (HERE / "tools_v1").glob("*.py")))
CHANGED = "invoice_total"  # the tool that gets a version 2
CANDIDATE = HERE / "candidates" / f"{CHANGED}.py"


class CannotStart(Exception):
    """The demo cannot start like this; the message says what to do."""


@dataclass(frozen=True)
class Workspace:
    """The folder of one run. It stays afterwards for inspection."""

    folder: Path
    database: str

    @property
    def config(self) -> Path:
        """The `rollguard.toml` of this run, for the command line."""
        return self.folder / "rollguard.toml"

    @property
    def inputs(self) -> Path:
        """The files that the agent works on."""
        return self.folder / "inputs"

    def tool_file(self, tool: str) -> Path:
        """The file that the registry serves, whatever version that is at the moment."""
        return self.folder / "tools" / f"{tool}.py"

    def open(self) -> Rollguard:
        """The whole system, as an application would open it.

        Raises:
            CannotStart: the database already knows tools of these names, so the figures would be mixed with theirs.
        """
        self._refuse_known_tools()
        # The settings are this run's own: a ROLLGUARD_DATABASE of yours must not draw the demo into your store.
        return Rollguard.from_settings(self.config, environ={})

    def _refuse_known_tools(self) -> None:
        with ExecutionStore(self.database) as store:
            known = [tool for tool in TOOLS if store.versions.history(tool) or tool in store.executions.tool_names()]
        if known:
            raise CannotStart(f"the database already knows {', '.join(known)}; give an empty one to --database")


def make_workspace(keep: Path | None = None, database: str | None = None) -> Workspace:
    """Copy version 1 of the tools and the inputs into a new folder, and write the settings.

    Args:
        keep: the folder; by default a temporary one.
        database: URL of the store; by default a SQLite file in the folder.

    Raises:
        CannotStart: the folder is in use.
    """
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="rollguard-demo-"))
    else:
        folder = keep.absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CannotStart(f"{folder} is not an empty folder; give another one to --keep")
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "inputs", folder / "inputs")
    shutil.copytree(HERE / "tools_v1", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    workspace = Workspace(folder, _absolute(database) if database else f"sqlite:///{folder / 'rollguard.db'}")
    workspace.config.touch(mode=0o600)  # the URL may hold a password
    workspace.config.write_text(
        f'database = {json.dumps(workspace.database)}\ntools_dir = "tools"\n\n'
        "[monitor]  # these are the defaults\n"
        "regression_threshold = 0.15\nmin_executions = 10\n",
        "utf-8",
    )
    return workspace


def _absolute(url: str) -> str:
    """Resolve a relative SQLite path from the working folder, not from the folder of the settings."""
    kind, slashes, path = url.partition(":///")
    return f"{kind}{slashes}{Path(path).absolute()}" if kind == "sqlite" and path else url
