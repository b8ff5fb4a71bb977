"""Start the service on the demo's data: `python -m examples.demo.service`, or `make demo-service`.

Nine tools with a week behind them, and an agent that works with three more. Half a minute after the start a bad version
of one of these goes live. Open the printed address and watch it being found and rolled back.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from examples.demo.agent import Agent, tasks_for
from examples.demo.history import WEAK, begin_rollout, live_through, propose_repair
from examples.demo.story import REASON
from examples.demo.workspace import CANDIDATE, CHANGED, CannotStart, Workspace, make_workspace
from rollguard import Rollguard, RollguardError

CHECK_EVERY = 5.0
_SETTINGS = f"""
[watch]
check_interval_seconds = {CHECK_EVERY}

[loop]
improve = true
tools = ["{WEAK}"]

[tools.{WEAK}.rehearse]
read_only = true

[[improve.improvers]]
kind = "callable"
name = "demo"
function = "examples.demo.repairs:without_commas"
"""
_PAUSE = 0.25  # seconds between two calls of the agent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.service", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=8787, help="where to listen on this machine (default 8787)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this empty folder, not a temporary one")
    parser.add_argument("--bad-after", type=float, default=30.0, metavar="S", help="seconds until the bad version")
    options = parser.parse_args(arguments)
    try:
        workspace = make_workspace(options.keep)
        guard = open_with_history(workspace)
    except (CannotStart, RollguardError) as error:
        print(f"The demo cannot start: {error}", file=sys.stderr)
        return 2
    from rollguard.service.serve import serve

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    print(f"Open http://127.0.0.1:{options.port} and stop with Ctrl-C. The data is in {workspace.folder}", flush=True)
    agent = Agent(guard.registry, tasks_for(workspace.inputs))
    agent.pause = _PAUSE
    bad = threading.Timer(options.bad_after, deploy_bad, [guard])
    bad.daemon = True
    with guard:
        agent.start()
        bad.start()
        try:
            serve(guard, host="127.0.0.1", port=options.port)
        except RollguardError as error:
            print(f"The demo cannot start: {error}", file=sys.stderr)
            return 2
        finally:
            bad.cancel()
            agent.stop()
    return 0


def open_with_history(workspace: Workspace) -> Rollguard:
    """Open the system of a workspace, with a watcher that looks often, and let its tools have their week."""
    with workspace.config.open("a", encoding="utf-8") as settings:
        settings.write(_SETTINGS)
    guard = workspace.open()
    print("A week passes ...", flush=True)
    quiet = logging.getLogger("rollguard.alerts")
    before, quiet.disabled = quiet.disabled, True
    try:
        now = datetime.now(UTC)
        live_through(guard, now)
        propose_repair(guard, now)
        begin_rollout(guard)
    finally:
        quiet.disabled = before
    return guard


def deploy_bad(guard: Rollguard) -> None:
    """Deploy the version that fails."""
    guard.deploy(CHANGED, CANDIDATE.read_bytes(), created_by="improver", reason=REASON)


if __name__ == "__main__":
    sys.exit(main())
