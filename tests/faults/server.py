"""`python -m tests.faults.server`: strikes stories at every step, each time in a forked child with a fresh store.

Everything is imported once, here, and each story is told once unstruck, so that its statements are compiled; neither a
thread nor a connection is open at a fork. One child is struck, a second one recovers and looks at what is left. Each
line of its input is a story to strike, as JSON; what was found is the line that answers it.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from rollguard import ExecutionStore
from rollguard.errors import RollguardError
from tests.faults import stories
from tests.faults.tracer import Tracer

UNHARMED, REFUSED, FAULTY = 0, 3, 4


class Databases:
    """Fresh copies of a prepared store."""

    def __init__(self, server: str | None, folder: Path, name: str) -> None:
        self._server, self._folder, self._base = server, folder, f"{name}_base"

    def base(self) -> str:
        """The URL of the store to prepare."""
        if self._server is None:
            shutil.copy(_template(), self._folder / "base" / "store.db")
            return f"sqlite:///{self._folder}/base/store.db"
        self._execute(f'DROP DATABASE IF EXISTS "{self._base}" WITH (FORCE)')  # of another strike at the same story
        self._execute(f'CREATE DATABASE "{self._base}" TEMPLATE rollguard_template')
        return self._url(self._base)

    def copy(self, folder: Path) -> str:
        """The URL of a copy of it; the SQLite file is a part of the folder that was copied."""
        if self._server is None:
            return f"sqlite:///{folder}/store.db"
        self._execute(f'DROP DATABASE IF EXISTS "{self._base}_run" WITH (FORCE)')
        self._execute(f'CREATE DATABASE "{self._base}_run" TEMPLATE "{self._base}"')
        return self._url(f"{self._base}_run")

    def give_up(self) -> None:
        """End the transactions that stand still, as the server does after a while."""
        if self._server is not None:
            self._execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{self._base}_run' AND state LIKE 'idle in transaction%'"
            )

    def _url(self, name: str) -> str:
        return f"postgresql://postgres:@/{name}?host={self._server}"

    def _execute(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(sql.encode())


def main(given: dict[str, Any]) -> dict[str, Any]:
    """Strike a story with each of the faults, for which a stride and a first step are given."""
    story, folder = given["story"], Path(given["folder"])
    (folder / "base").mkdir(parents=True)
    databases = Databases(given.get("server"), folder, story)
    url = databases.base()
    _child(partial(stories.prepare, story, url, folder / "base"))
    _warm_up(story, given["dialect"], folder, databases)
    return {
        fault: (stop if fault == "stop" else strike)(
            story, fault, given["dialect"], folder, databases, stride=stride, first=first
        )
        for fault, (stride, first) in given["faults"].items()
    }


@cache
def _template() -> Path:
    """A migrated SQLite file, made once."""
    file = Path(tempfile.mkdtemp(prefix="rg-faults-")) / "store.db"
    atexit.register(shutil.rmtree, file.parent)
    _child(lambda: (UNHARMED, ExecutionStore(f"sqlite:///{file}").close()))
    return file


_warm: set[tuple[str, str]] = set()


def _warm_up(story: str, dialect: str, folder: Path, databases: Databases) -> None:
    """Tell the story unstruck in this process, once: each child would else import and compile the same again."""
    if (story, dialect) in _warm:
        return
    _warm.add((story, dialect))
    here = folder / "warm"
    shutil.copytree(folder / "base", here)
    url = databases.copy(here)
    with stories.opened(story, url, here) as guard:
        stories.act(story, guard)
    _, found = _look(story, url, here, killed=False, returned=True)
    assert not found, found
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(60)  # told to end with the system
    assert threading.active_count() == 1, threading.enumerate()


def strike(
    story: str, fault: str, dialect: str, folder: Path, databases: Databases, *, stride: int, first: int
) -> dict[str, Any]:
    """Strike every `stride`-th step, beginning with the one numbered `first`, until a child is not struck any more."""
    problems: list[str] = []
    at, runs, here = first, 0, folder / "run"
    while True:
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(folder / "base", here)
        url = databases.copy(here)
        status, said = _child(partial(_struck, story, url, here, Tracer(at, fault, dialect)))
        runs += 1
        told = json.loads(said) if said else {}
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == FAULTY:
            problems.append(f"{at}: {told.get('error')}")
        if os.WIFSIGNALED(status) and (os.WTERMSIG(status), fault) != (signal.SIGKILL, "kill"):
            problems.append(f"{at}: ended by signal {os.WTERMSIG(status)}")
        _, found = _child(partial(_look, story, url, here, killed=fault == "kill", returned=status == UNHARMED))
        where = told.get("struck") or "killed"
        problems += [f"{at} ({where}): {problem}" for problem in json.loads(found or '["it could not be looked at"]')]
        if not os.WIFSIGNALED(status) and told.get("struck") is None:  # or it ended before it said anything
            reached = told.get("reached", {})
            return {"points": sum(reached.values()), "runs": runs, "steps": reached, "wrong": problems}
        at += stride


def stop(
    story: str, fault: str, dialect: str, folder: Path, databases: Databases, *, stride: int, first: int
) -> dict[str, Any]:
    """As `strike`, but the child only stands still; a person deploys meanwhile, and then it goes on."""
    problems: list[str] = []
    at, runs, here = first, 0, folder / "run"
    while True:
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(folder / "base", here)
        url = databases.copy(here)
        deployed: list[int | None] = [None]

        def meanwhile(url: str = url, deployed: list[int | None] = deployed) -> None:
            databases.give_up()
            _, said = _child(lambda: (UNHARMED, stories.interfere(story, url, here)))
            deployed[0] = json.loads(said)

        status, said = _child(partial(_struck, story, url, here, Tracer(at, fault, dialect)), meanwhile)
        runs += 1
        told = json.loads(said) if said else {}
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status) == FAULTY:
            problems.append(f"{at}: {told.get('error', status)}")
        _, found = _child(partial(_look_after_a_stop, story, url, here, deployed[0]))
        problems += [f"{at} ({told.get('struck')}): {problem}" for problem in json.loads(found or '["not looked at"]')]
        if told.get("struck") is None:
            reached = told.get("reached", {})
            return {"points": sum(reached.values()), "runs": runs, "steps": reached, "wrong": problems}
        at += stride


def _look_after_a_stop(story: str, url: str, folder: Path, deployed: int | None) -> tuple[int, list[str]]:
    try:
        with stories.opened(story, url, folder) as guard:
            stories.recover(story, guard)
            found = list(stories.wrong_after_a_stop(story, guard, folder, deployed))
            found += stories.afterwards(guard, out=story.endswith("_out"))
    except BaseException:  # noqa: BLE001 - it is what was looked for
        return UNHARMED, [traceback.format_exc()]
    return UNHARMED, found


def _struck(story: str, url: str, folder: Path, tracer: Tracer) -> tuple[int, Any]:
    tracer.install()
    guard = stories.opened(story, url, folder, tracer)
    status, error = UNHARMED, None
    tracer.arm()
    try:
        stories.act(story, guard)
    except RollguardError as refused:
        status, error = REFUSED, repr(refused)
    except BaseException:  # noqa: BLE001 - it is what was looked for
        status, error = FAULTY, traceback.format_exc()
    tracer.disarm()
    return status, {"struck": tracer.struck, "reached": tracer.reached, "error": error}


def _look(story: str, url: str, folder: Path, *, killed: bool, returned: bool) -> tuple[int, list[str]]:
    try:
        with stories.opened(story, url, folder) as guard:
            stories.recover(story, guard)
            found = list(stories.wrong(story, guard, folder, killed=killed, returned=returned))
            found += stories.afterwards(guard, out=story.endswith("_out"))
    except BaseException:  # noqa: BLE001 - it is what was looked for
        return UNHARMED, [traceback.format_exc()]
    return UNHARMED, found


def _child(work: Callable[[], Any], when_stopped: Callable[[], None] | None = None) -> tuple[int, str]:
    """Run in a forked child; its exit status and what it has to say. Where it stands still it is told to go on."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status, said = FAULTY, ""
        try:
            os.close(reading)
            done = work()
            status, result = done if isinstance(done, tuple) else (UNHARMED, None)
            said = json.dumps(result)
        except BaseException:  # noqa: BLE001 - the parent is told by the status
            traceback.print_exc()
        finally:
            with os.fdopen(writing, "w") as pipe:
                pipe.write(said)
            os._exit(status)
    os.close(writing)
    if when_stopped is not None:
        os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        when_stopped()
        os.kill(child, signal.SIGCONT)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    return os.waitpid(child, 0)[1], said


if __name__ == "__main__":
    warnings.simplefilter("error")
    for line in sys.stdin:
        print(json.dumps(main(json.loads(line))), flush=True)
