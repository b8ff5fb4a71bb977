"""One frame of the live screen: the tools with their attempts and rollouts, and the log."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.frame import COLOURS
from examples.demo_loop.board import CHAPTERS, Board
from examples.demo_loop.workspace import TOOLS
from rollguard.model.attempt import State

_STEPS = (
    (State.FOUND, "find"), (State.INVESTIGATED, "investigate"), (State.PROPOSED, "improve"),
    (State.WAITING, "rehearse"), (State.APPROVED, "approve"), (State.WATCHING, "deploy"), (State.SUCCEEDED, "watch"),
)  # fmt: skip
_ENDED = {State.SUCCEEDED: "bold green", State.REFUSED: "bold red", State.FAILED: "bold red", State.VOID: "bold red"}
_BORDER = "bright_black"


class Frame:
    """The board, laid out for however large the terminal is (80 x 24 and up)."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        layout = Layout()
        layout.split_column(
            Layout(self._header(), size=2),
            Layout(Panel(self._tools(), title="Tools and attempts", border_style=_BORDER), size=8),
            Layout(Panel(self._log(height - 12), title="What happened", border_style=_BORDER)),
        )
        yield layout

    def _header(self) -> Text:
        chapters = Text.assemble(
            *((f" {name} ", "bold reverse" if n == self._board.chapter else "dim") for n, name in enumerate(CHAPTERS)),
            overflow="ellipsis", no_wrap=True,
        )  # fmt: skip
        return Text.assemble(chapters, "\n", (self._board.says, "bold"), overflow="ellipsis", no_wrap=True)

    def _tools(self) -> Table:
        table = Table(box=None, expand=True, pad_edge=False)
        for column in ("tool", "live", "calls", "failed", "canary", "attempt"):
            table.add_column(column, no_wrap=True, overflow="ellipsis", header_style="dim")
        for tool in TOOLS:
            calls = self._board.journal.of(tool)
            failed = sum(not call.success for call in calls)
            live = self._board.live.get(tool)
            row = (
                tool,
                f"v{live}" if live else "",
                str(len(calls)),
                str(failed),
                self._canary(tool),
                self._attempt(tool),
            )
            table.add_row(*row)
        return table

    def _canary(self, tool: str) -> str:
        rollout = self._board.rollouts.get(tool)
        if rollout is None:
            return ""
        share = f" {rollout.ramp.share:.0%}" if rollout.open else ""
        return f"v{rollout.new_version} {rollout.ramp.state}{share}"

    def _attempt(self, tool: str) -> Text:
        attempt = self._board.attempts.get(tool)
        if attempt is None:
            return Text("")
        if not attempt.open:
            said = f"{attempt.state}: {str(attempt.why).replace('_', ' ')}"
            return Text(said, _ENDED.get(attempt.state, "yellow"))
        done = [state for state, _ in _STEPS]
        at = done.index(attempt.state) if attempt.state in done else len(done) - 2
        return Text(" → ".join(name for _, name in _STEPS[: at + 1]), "cyan")

    def _log(self, lines: int) -> Text:
        text = Text(overflow="ellipsis", no_wrap=True)
        for event in self._board.events[-max(1, lines) :]:
            text.append(f"{event.at.astimezone():%H:%M:%S} {event.text}\n", COLOURS[event.kind])
        return text
