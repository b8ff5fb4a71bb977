"""A cycle of the autonomous loop over 1,000 tools where nothing is to do: `AutonomousLoop.tick`, every stage once.

The tools have the rollups of a week, none of them is weak, and none is monitored. The limit is 2 seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.databases import DATABASES, Plain, urls
from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, seconds, versions
from benchmarks.opportunities import NOW, fill
from rollguard import Rollguard, Settings
from rollguard.loop.rules import LoopRules

LIMIT = 2.0


def run(options: Options) -> Result:
    """Measure."""
    tools = 5 if options.tiny else 1_000
    result = Result(
        name="loop_cycle",
        title="A cycle of the loop",
        about=__doc__ or "",
        columns=["", "rollups", "time", "begun"],
        notes=[versions("psycopg", "SQLAlchemy")],
    )
    with urls(*DATABASES) as (make, servers), tempfile.TemporaryDirectory() as folder:
        result.machine = servers
        for kind in DATABASES:
            here = Path(folder) / kind
            here.mkdir()
            settings = Settings(database=make(kind), tools_dir=here, loop=LoopRules(improve=True))
            with Rollguard(settings) as guard:
                plain = Plain(settings.database)
                fill(plain, tools, weak=False)
                plain.settle()
                ((rows,),) = plain.ask("SELECT COUNT(*) FROM tool_execution_rollups")

                def cycle(guard: Rollguard = guard) -> None:
                    guard.loop.tick(NOW)

                taken = medians({"cycle": lambda cycle=cycle: seconds(cycle)}, options.runs)["cycle"]  # type: ignore[misc]
                begun = guard.loop.statistics()["opportunities_detected"]
                label = f"{kind}: {number(tools)} tools"
                result.rows.append([label, number(rows), duration(taken), number(begun)])
                aim = Aim(f"{label} in under {LIMIT:.0f} s", duration(taken), taken < LIMIT)
                aim.profile = None if aim.met else profile(cycle)
                result.aims.append(aim)
                plain.close()
    return result
