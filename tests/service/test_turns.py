"""Bodies are read in turns."""

from __future__ import annotations

import asyncio
import threading

from rollguard.service.turns import Turns


def test_no_body_is_read_while_others_wait_to_be_written() -> None:
    """At most one body that is read waits for room; the next one is read when that one is being written."""
    read: list[str] = []
    second, go_on = threading.Event(), threading.Event()

    def reading(name: str) -> str:
        read.append(name)
        if name == "second":
            second.set()
        return name

    def write(name: str) -> str:
        go_on.wait()
        return name.upper()

    async def story() -> tuple[list[str], list[str]]:
        turns = Turns()
        names = ("first", "second", "third")
        tasks = [asyncio.create_task(turns.take(lambda n=n: reading(n), lambda _: 10**9, write)) for n in names]
        await asyncio.to_thread(second.wait)
        before = [*read]
        go_on.set()
        return before, await asyncio.gather(*tasks)

    before, written = asyncio.run(story())
    assert before == ["first", "second"]
    assert read == ["first", "second", "third"]
    assert written == ["FIRST", "SECOND", "THIRD"]
