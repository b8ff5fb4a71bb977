"""Reading source in several threads at once."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor

from rollguard.compat.scope import parsed


def test_threads_that_parse_at_once_do_not_disturb_each_other() -> None:
    """Each thread gets its tree, also where a garbage collection lets another thread parse in the middle of it."""
    source = "\n".join(f"def f{n}(x): return [y for y in (x, {n}) if y]" for n in range(50))

    def switch(_phase: str, _info: object) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(switch)
    gc.set_threshold(300)
    try:
        with ThreadPoolExecutor(3) as pool:
            trees = list(pool.map(parsed, [source] * 30))
    finally:
        gc.callbacks.remove(switch)
        gc.set_threshold(*before)
    assert [len(tree.body) for tree in trees] == [50] * 30
