"""Who may do what: tokens, scopes, hosts, origins and rates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from rollguard import ExecutionStore, Rollguard
from rollguard.errors import InvalidInput, StoreUnavailable
from rollguard.model.token import Scope
from rollguard.service.auth import Tokens
from rollguard.service.rates import Rates
from tests.conftest import NOW
from tests.service.conftest import client_of, row

PATH = "/api/v1/executions"
Make = Callable[..., dict[str, str]]


def test_a_secret_is_stored_nowhere(store: ExecutionStore) -> None:
    """A token is found by its secret, and no row holds it."""
    made, secret = store.tokens.create("ann", ["read", "ingest"], tools=["b", "a"], created_by="me", now=NOW)
    assert store.tokens.of_secret(secret) == made
    assert made.scopes == {Scope.READ, Scope.INGEST}
    assert made.tools == ("a", "b")
    assert store.tokens.of_secret(secret[:-1]) is None
    assert secret not in repr(store.tokens.all())


def test_a_name_has_one_valid_token(store: ExecutionStore) -> None:
    """A second token of a name is refused until the first is revoked or over."""
    store.tokens.create("ann", ["read"], created_by="me", now=NOW, expires_at=NOW + timedelta(days=1))
    with pytest.raises(InvalidInput, match="revoke it first"):
        store.tokens.create("ann", ["read"], created_by="me", now=NOW)
    store.tokens.create("ann", ["approve"], created_by="me", now=NOW + timedelta(days=2))
    assert [one.valid_at(NOW) for one in store.tokens.revoke("ann", NOW + timedelta(days=3))] == [False]
    with pytest.raises(InvalidInput, match="no valid token"):
        store.tokens.revoke("ann", NOW + timedelta(days=3))
    assert store.tokens.exist()


def test_what_another_program_wrote_allows_nothing(store: ExecutionStore) -> None:
    """A token whose scopes or tools cannot be read has no scope, not every tool."""
    import sqlalchemy as sa

    _made, secret = store.tokens.create("ann", ["ingest"], tools=["a"], created_by="me", now=NOW)
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE service_tokens SET tools = 'nonsense'"))
    found = store.tokens.of_secret(secret)
    assert found is not None
    assert not found.scopes


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer ", "Bearer rgt_wrong", "Bearer \xe9"])
def test_who_has_no_token_is_refused(here: TestClient, token: Make, header: str) -> None:
    """Once there is a token, a request without a valid one is refused with 401, also from this machine."""
    token("ingest")
    answer = here.post(PATH, json=row(), headers={"authorization": header.encode("latin-1")} if header else {})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_scope_includes_no_other(here: TestClient, token: Make) -> None:
    """A token without the scope is refused with 403, which names the missing one."""
    answer = here.post(PATH, json=row(), headers=token("read", "operate", "approve"))
    assert answer.status_code == 403
    assert "this needs the scope ingest" in answer.json()["detail"]


def test_an_expired_token_is_refused(here: TestClient, token: Make) -> None:
    """A token is refused when its time is over."""
    past = datetime.now(UTC) - timedelta(days=2)
    header = token("ingest", now=past, expires_at=past + timedelta(days=1))
    assert here.post(PATH, json=row(), headers=header).status_code == 401


def test_a_revoked_token_is_soon_refused(sqlite_guard: Rollguard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is read again after five seconds, and known ones are taken for an hour while the database is away."""
    store, now = sqlite_guard.store, [0.0]
    _made, secret = store.tokens.create("ann", ["read"], created_by="me", now=NOW)
    _other, unknown = store.tokens.create("bob", ["read"], created_by="me", now=NOW)
    tokens = Tokens(store, clock=lambda: now[0])
    assert tokens.of_secret(secret) is not None
    with monkeypatch.context() as patch:
        patch.setattr(store.tokens, "of_secret", lambda _secret: (_ for _ in ()).throw(StoreUnavailable("away")))
        now[0] = 3_000.0
        assert tokens.of_secret(secret) is not None
        with pytest.raises(StoreUnavailable):
            tokens.of_secret(unknown)
    store.tokens.revoke("ann", NOW)
    assert tokens.of_secret(secret) is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8787"}, 200),
        ({"host": "[::1]:8787"}, 200),
        ({"origin": "http://127.0.0.1"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:99"}, 403),
    ],
)
def test_another_site_reads_nothing_without_a_token(here: TestClient, headers: dict[str, str], status: int) -> None:
    """While there is no token, names and origins of others are refused: no page in a browser can call."""
    assert here.get("/readyz", headers=headers).status_code == status


def test_named_hosts_are_answered(sqlite_guard: Rollguard) -> None:
    """With `allowed_hosts` these names are answered, this machine's own, and no others."""
    client = client_of(sqlite_guard, open_=False, allowed_hosts=("tools.example.com",))
    for host, status in (("Tools.example.com:443", 200), ("127.0.0.1:8787", 200), ("other.example.com", 421)):
        assert client.get("/healthz", headers={"host": host}).status_code == status


def test_too_many_requests_are_refused(sqlite_guard: Rollguard, token: Make) -> None:
    """A token that sends more than its rate gets 429 and when to send again; another token is answered."""
    client = client_of(sqlite_guard, open_=False, requests_per_minute=3, rows_per_minute=5)
    ann, bob = token("ingest"), token("ingest", name="bob")
    assert client.post(PATH, json=[row(number) for number in range(4)], headers=ann).status_code == 200
    rows = client.post(PATH, json=[row(number) for number in range(4)], headers=ann)
    assert (rows.status_code, "executions in a minute" in rows.json()["detail"]) == (429, True)
    client.post(PATH, json=row(), headers=ann)
    answer = client.post(PATH, json=row(), headers=ann)
    assert (answer.status_code, int(answer.headers["retry-after"])) == (429, 20)
    assert client.post(PATH, json=row(), headers=bob).status_code == 200
    strangers = [client.post(PATH, json=row()).status_code for _ in range(5)]
    assert strangers == [401, 401, 401, 429, 429]


def test_a_rate_recovers() -> None:
    """What was sent fills again evenly, and a request as large as the limit is taken once a minute."""
    now = [0.0]
    rates = Rates(60, 100, clock=lambda: now[0])
    rates.take_rows("a", 500)
    for second in range(1, 3):
        now[0] = 30.0 * second
        if second == 2:
            rates.take_rows("a", 100)
