"""Figures of a backtest, drawn with matplotlib, which is optional."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollguard.errors import InvalidInput

if TYPE_CHECKING:
    from rollguard.evaluate.backtest import Deployment, ToolRisk

_SUFFIXES = (".png", ".svg")
_MOST_ROWS = 60  # a figure with more cannot be read
_MOST_TOOLS = 20
_ROW_INCHES = 0.28
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#BBBBBB"  # colours that colour-blind people can distinguish


def check_plot(file: Path) -> None:
    """Check that a figure can be written to the file, before the command does anything else.

    Raises:
        InvalidInput: its suffix is unknown, its folder is missing, it cannot be written, or matplotlib is missing.
    """
    if file.suffix.lower() not in _SUFFIXES:
        raise InvalidInput(f"--plot: {file} ends with neither .png nor .svg; give a name that does")
    if not file.parent.is_dir():
        raise InvalidInput(f"--plot: the folder {file.parent} does not exist; make it first")
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InvalidInput(f"--plot: {file} cannot be written; choose a file and a folder that can be")
    if find_spec("matplotlib") is None:
        raise InvalidInput("--plot: needs matplotlib: pip install 'rollguard[plot]'")


def plot_backtest(file: Path, deployments: Sequence[Deployment], risks: Sequence[ToolRisk]) -> int:
    """Draw each deployment with both decisions and, beside it, each tool's false alarms by both rules.

    Returns:
        How many deployments the figure shows: the newest, if there are very many.

    Raises:
        InvalidInput: the file cannot be written.
    """
    from matplotlib.figure import Figure

    shown = list(deployments[:_MOST_ROWS])
    rows = max(len(shown), 2 * min(len(risks), _MOST_TOOLS), 4)
    figure = Figure(figsize=(13 if risks else 8, 1.8 + _ROW_INCHES * rows), layout="constrained")
    if risks:
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        _risks(right, risks[:_MOST_TOOLS])
    else:
        left = figure.subplots()
    _timeline(left, shown)
    figure.legend(handles=_legend(left, with_risks=bool(risks)), loc="outside lower center", ncols=5, frameon=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a letter that no font has is drawn as a box
        try:
            figure.savefig(file, dpi=120)
        except OSError as error:
            raise InvalidInput(f"--plot: {file} cannot be written: {error.strerror}") from error
    return len(shown)


def _legend(axes: Any, *, with_risks: bool) -> list[Any]:
    handles = [
        axes.barh([0], [0], color=_GREY, label="watched"),
        axes.plot([], [], "x", color=_ORANGE, ms=8, mew=2, label="rolled back")[0],
        axes.plot([], [], "o", mfc="none", mec=_BLUE, ms=10, mew=2, label="by the candidate")[0],
    ]
    bars = (("present settings", _ORANGE), ("candidate", _BLUE)) if with_risks else ()
    return [*handles, *(axes.barh([0], [0], color=colour, label=label) for label, colour in bars)]


def _timeline(axes: Any, deployments: Sequence[Deployment]) -> None:
    longest = max(deployment.seen_until - deployment.session.deployment_time for deployment in deployments)
    unit, name = (_HOUR, "hours") if longest >= 2 * _HOUR else (_MINUTE, "minutes")
    for row, deployment in enumerate(deployments):
        deployed = deployment.session.deployment_time
        axes.barh(row, (deployment.seen_until - deployed) / unit, color=_GREY, height=0.5, zorder=1)
        if deployment.decided_at is not None:
            axes.plot((deployment.decided_at - deployed) / unit, row, "x", color=_ORANGE, ms=8, mew=2, zorder=3)
        if deployment.replayed.at is not None:
            at = (deployment.replayed.at - deployed) / unit
            axes.plot(at, row, "o", mfc="none", mec=_BLUE, ms=10, mew=2, zorder=2)
    axes.set_yticks(range(len(deployments)), [_name(deployment) for deployment in deployments], fontsize=8)
    axes.set_ylim(len(deployments) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{name} since the deployment")
    axes.set_title("Deployments: as they were rolled back, and by the candidate", loc="left", fontsize=10)


def _risks(axes: Any, risks: Sequence[ToolRisk]) -> None:
    for row, risk in enumerate(risks):
        axes.barh(row - 0.2, 100 * risk.present.probability, height=0.36, color=_ORANGE)
        axes.barh(row + 0.2, 100 * risk.candidate.probability, height=0.36, color=_BLUE)
    axes.set_yticks(range(len(risks)), [_plain(risk.tool_name) for risk in risks], fontsize=8)
    axes.set_ylim(len(risks) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("% of unchanged versions, in one watch")
    axes.set_title("False alarms", loc="left", fontsize=10)


def _name(deployment: Deployment) -> str:
    session = deployment.session
    version = "" if session.version_number is None else f" v{session.version_number}"
    return f"{_plain(session.tool_name)}{version}, {session.deployment_time:%Y-%m-%d}"


def _plain(name: str) -> str:
    """Escape dollar signs: matplotlib reads text between them as a formula."""
    short = name if len(name) <= 30 else f"{name[:29]}…"
    return short.replace("$", r"\$")
