"""A folder of its own for one run: the tools, the amounts of real invoices, the settings and the database."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from examples.demo.workspace import HERE as FIRST_DEMO
from examples.demo.workspace import CannotStart
from rollguard import Rollguard

HERE = Path(__file__).parent
TOOLS = ("amount_cents", "net_amount", "early_payment", "instalment")
_PLAIN, _GROUPED = re.compile(r"\d+(\.\d\d)?"), re.compile(r"\d{1,3}(,\d{3})+\.\d\d")


@dataclass(frozen=True)
class Model:
    """A model to ask instead of the script.

    Attributes:
        name: as `openai:gpt-5-mini`.
        base_url: of an endpoint that speaks OpenAI's protocol; empty for the provider's own.
        key_env: the variable that holds the key.
    """

    name: str
    base_url: str = ""
    key_env: str = ""


@dataclass(frozen=True)
class Workspace:
    """The folder of one run. It stays afterwards for inspection."""

    folder: Path
    model: Model | None

    @property
    def config(self) -> Path:
        """The `rollguard.toml` of this run, for the command line."""
        return self.folder / "rollguard.toml"

    def open(self, environ: dict[str, str]) -> Rollguard:
        """The whole system, as an application would open it."""
        needed = {self.model.key_env, "PATH"} if self.model else {"PATH"}
        return Rollguard.from_settings(self.config, {name: environ[name] for name in needed & environ.keys()})


def amounts() -> list[str]:
    """The amounts of the first demo's invoices that are written with a point: 28 of them group thousands by commas."""
    found: set[str] = set()
    for file in sorted((FIRST_DEMO / "inputs" / "invoices").iterdir()):
        rows = csv.reader(file.read_text("utf-8", "replace").splitlines())
        found |= {cell.strip() for row in rows for cell in row[1:]}
    return sorted(cell for cell in found if _PLAIN.fullmatch(cell) or _GROUPED.fullmatch(cell))


def make_workspace(keep: Path | None = None, model: Model | None = None) -> Workspace:
    """Copy the tools into a new folder, and write the settings.

    Raises:
        CannotStart: the folder is in use.
    """
    folder = Path(tempfile.mkdtemp(prefix="rollguard-demo-")) if keep is None else keep.absolute()
    if keep is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotStart(f"{folder} is not an empty folder; give another one to --keep")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tools").mkdir()
    for tool in TOOLS:
        shutil.copy(HERE / "tools_v1" / f"{tool}.py", folder / "tools")
    workspace = Workspace(folder, model)
    workspace.config.write_text(_settings(folder, model), "utf-8")
    return workspace


def _settings(folder: Path, model: Model | None) -> str:
    read_only = "".join(f"[tools.{tool}.rehearse]\nread_only = true  # may be run again\n\n" for tool in TOOLS)
    return f"""\
database = {json.dumps(f"sqlite:///{folder / 'rollguard.db'}")}
tools_dir = "tools"

[monitor]
monitoring_window_hours = 1
rollout = [0.25, 0.5]        # a repair first serves a quarter of the calls, then half of them,
rollout_stage_minutes = 0.05 # each for 3 seconds at least; in production for hours
rollout_stage_units = 40
rollout_limit_hours = 1
rollout_unit_seconds = 1

[loop]
improve = true
max_tries = 1                # so that a wrong repair is stopped at once, and not proposed again

[loop.approval]              # the demo's policy: what passes on recorded calls is approved
automatic = ["shadow"]
max_automatic_per_day = 10

[sandbox]
isolation = "best_effort"    # only because all code here is the demo's own

[[improve.improvers]]
{_improver(model)}

{read_only}"""


def _improver(model: Model | None) -> str:
    if model is None:
        command = json.dumps([sys.executable, "-I", str(HERE / "scripted_improver.py")])
        return f'kind = "command"\nname = "scripted improver"\ncommand = {command}'
    lines = ['kind = "model"', f"model = {json.dumps(model.name)}"]
    lines += [f"base_url = {json.dumps(model.base_url)}"] if model.base_url else []
    lines += [f"key_env = {json.dumps(model.key_env)}"] if model.key_env else []
    return "\n".join(lines)
