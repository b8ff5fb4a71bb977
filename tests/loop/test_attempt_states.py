"""The state machine of an attempt: what is possible, that the store allows nothing else, and that the docs draw it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import AttemptClosed, InvalidInput
from rollguard.loop.improvement import Approvals
from rollguard.loop.rules import LoopRules
from rollguard.model import attempt as machine
from rollguard.model.attempt import BEGIN, OPEN, TRANSITIONS, Attempt, State, Transition, Why, after, bound_to
from rollguard.store import Caps, Finding, Step
from rollguard.store.database.engine import Database
from rollguard.store.schema import migrate
from tests.conftest import NOW

PAGE = Path(__file__).parents[2] / "docs/loop.md"
CAPS = Caps(of_tool=100, of_all=100, tokens=1_000)
ENDED = tuple(state for state in State if state not in OPEN)
WALKS = st.lists(st.sampled_from(TRANSITIONS), max_size=25)


def found(tool: str = "t") -> Finding:
    return Finding(tool, "low_success_rate", "high", "7 of 10 failed", 1, "a" * 64, {"tries": 3})


def drawn(text: str | None) -> set[tuple[str, str, str]]:
    """The transitions of the first picture of a text."""
    return set(
        re.findall(r"^ +(\w+) --> (\w+): (\w+)$", (text or "").split("```mermaid")[1].split("```")[0], re.MULTILINE)
    )


def test_the_pictures_are_the_machine() -> None:
    """The module's picture and the one of docs/loop.md show each transition there is, and no other."""
    real = {(str(leaves), str(one.enters), one.name) for one in TRANSITIONS for leaves in one.leaves}
    assert drawn(machine.__doc__) == real
    assert drawn(PAGE.read_text("utf-8")) == real


def test_every_state_can_be_reached_and_every_open_one_left() -> None:
    """No state is out of reach, an open one leads to an end, and an ended one nowhere."""
    reached = {State.FOUND}
    for _ in State:
        reached |= {one.enters for one in TRANSITIONS if reached & set(one.leaves)}
    assert reached == set(State)
    assert all(any(state in one.leaves and one.enters in ENDED for one in TRANSITIONS) for state in OPEN)
    assert not any(set(one.leaves) & set(ENDED) for one in TRANSITIONS)


@given(WALKS)
def test_a_walk_never_leaves_an_end(walk: list[Transition]) -> None:
    """Whatever is tried in whatever order, what has ended stays, and live code changes only by way of an approval."""
    state, path = State.FOUND, [State.FOUND]
    for one in walk:
        if state in one.leaves:
            state = after(state, one)
            path.append(state)
        else:
            with pytest.raises(InvalidInput):
                after(state, one)
    assert all(one in OPEN for one in path[:-1])
    if State.DEPLOYING in path:
        assert {State.PROPOSED, State.WAITING, State.APPROVED} <= set(path[: path.index(State.DEPLOYING)])


_STORE = ExecutionStore("sqlite:///:memory:")


@settings(max_examples=30)
@given(walk=WALKS, stale=st.sets(st.integers(0, 24)))
def test_the_store_makes_the_same_changes_and_writes_each_once(walk: list[Transition], stale: set[int]) -> None:
    """The table follows the machine, one event for each change; whoever acts on an older state changes nothing."""
    store = _STORE
    for old in store.attempts.recent(states=OPEN):
        store.attempts.move(old, Step(machine.VOID, "test", why=Why.BASE_CHANGED), NOW)
    seen = [_begun(store)]
    told = [BEGIN]
    for number, one in enumerate(walk):
        acts_on = seen[0] if number in stale else seen[-1]
        why = Why.ERROR if one.enters in ENDED else None
        possible = acts_on.state in one.leaves and acts_on.state == seen[-1].state
        try:
            seen.append(store.attempts.move(acts_on, Step(one, "test", why=why), NOW))
            told.append(one.name)
            assert possible
            assert seen[-1].state is after(seen[-2].state, one)
        except AttemptClosed:
            assert not possible
    events = store.attempt_events.of(seen[0].attempt_id)
    assert [event.event for event in events] == told
    assert store.attempts.get(seen[0].attempt_id).state is seen[-1].state


def _begun(store: ExecutionStore) -> Attempt:
    attempt = store.attempts.begin(found(), Caps(10_000, 10_000, 1_000), by="test", now=NOW)
    assert attempt is not None
    return attempt


# --- the store -------------------------------------------------------------------------------------------------------


def test_one_attempt_of_a_tool_is_open(store: ExecutionStore) -> None:
    """A second one does not begin while the first is open, and another tool's does."""
    assert store.attempts.begin(found(), CAPS, by="find", now=NOW) is not None
    assert store.attempts.begin(found(), CAPS, by="find", now=NOW) is None
    assert store.attempts.begin(found("other"), CAPS, by="find", now=NOW) is not None
    assert store.attempts.busy() == {"t", "other"}


@pytest.mark.parametrize("caps", [Caps(1, 9, 9), Caps(9, 1, 9), Caps(9, 9, 5)])
def test_a_cap_counts_a_day(store: ExecutionStore, caps: Caps) -> None:
    """Attempts and tokens of the last 24 hours count, those of yesterday do not."""
    attempt = store.attempts.begin(found(), caps, by="find", now=NOW)
    assert attempt is not None
    step = Step(machine.FAIL, "improve", why=Why.NO_PROPOSAL, values={"tokens": 5})
    store.attempts.move(attempt, step, NOW)
    assert store.attempts.begin(found(), caps, by="find", now=NOW + timedelta(hours=23)) is None
    assert store.attempts.begin(found(), caps, by="find", now=NOW + timedelta(hours=25)) is not None


def test_a_lease_holds_until_its_end(store: ExecutionStore) -> None:
    """Nobody else takes what is taken, a late worker changes nothing, and a renewal keeps it."""
    hour = timedelta(hours=1)
    store.attempts.begin(found(), CAPS, by="find", now=NOW)
    take = store.attempts.take
    mine = take([State.FOUND], "one", after=0, now=NOW, until=NOW + hour)
    assert mine is not None
    assert take([State.FOUND], "two", after=0, now=NOW, until=NOW + hour) is None
    assert store.attempts.renew(mine.attempt_id, "one", NOW + 2 * hour)
    assert take([State.FOUND], "two", after=0, now=NOW + hour, until=NOW + 2 * hour) is None
    theirs = take([State.FOUND], "two", after=0, now=NOW + 2 * hour, until=NOW + 3 * hour)
    assert theirs is not None
    assert theirs.starts == 2
    assert not store.attempts.renew(mine.attempt_id, "one", NOW + 9 * hour)
    with pytest.raises(AttemptClosed, match="another loop works on it"):
        store.attempts.move(mine, Step(machine.INVESTIGATE, "one"), NOW, worker="one")
    assert store.attempts.move(theirs, Step(machine.INVESTIGATE, "two"), NOW, worker="two").starts == 0


def test_the_binding_covers_everything() -> None:
    """Another candidate, base or evidence is another hash; the order of keys is not."""
    one = bound_to("a", "b", {"x": 1, "y": [2]})
    assert one == bound_to("a", "b", {"y": [2], "x": 1})
    assert len({one, bound_to("c", "b", {"x": 1, "y": [2]}), bound_to("a", "c", {}), bound_to("a", "b", {"x": 2})}) == 4


@pytest.mark.long
def test_an_upgrade_loses_no_approval_that_waits(
    new_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of the migration before, with a proposal that one of two people approved: after it the second decides."""
    rules = LoopRules(approval={"approvals": 2})  # type: ignore[arg-type]
    url, newest = new_url(), migrate.head()
    before = migrate.scripts().get_revision(newest).down_revision
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "head", lambda: before)
        old = Database(url)
        migrate.migrate(old)
        old.close()
        with ExecutionStore(url) as store:
            assert migrate.current(store.database) == before
            live = ToolRegistry(tmp_path, store=store).deploy("t", "def t(): return 1\n", deployed_at=NOW)
            base = store.versions.get("t", live).sha256
            attempt = store.attempts.begin(replace(found(), base_sha256=base), CAPS, by="find", now=NOW)
            assert attempt is not None
            values = {
                "candidate": b"def t(): return 2\n",
                "candidate_sha256": hashlib.sha256(b"def t(): return 2\n").hexdigest(),
                "evidence": {"of another version": [1, {"é": None}]},
                "proposal": {"author": "a", "z": 1},
                "verdict": "passes",
                "expires_at": NOW + timedelta(days=1),
            }
            for step in (machine.INVESTIGATE, machine.PROPOSE, machine.REHEARSE):
                attempt = store.attempts.move(attempt, Step(step, "stage", values=values), NOW)
            attempt = Approvals(store, rules).approve(attempt.attempt_id, by="ann", reason="right", now=NOW)
            events = store.attempt_events.of(attempt.attempt_id)
    with ExecutionStore(url) as store:
        assert migrate.current(store.database) == newest
        kept = store.attempts.get(attempt.attempt_id)
        assert (kept, kept.binding, kept.intact, kept.state) == (attempt, attempt.binding, True, State.WAITING)
        assert store.attempt_events.of(attempt.attempt_id) == events
        approved = Approvals(store, rules).approve(attempt.attempt_id, by="bob", reason="right", now=NOW)
        assert approved.state is State.APPROVED
        assert Approvals(store, rules).problem(approved, NOW) is None
