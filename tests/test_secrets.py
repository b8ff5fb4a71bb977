"""What is secret in a setting is in no error, chain, log, repr, alert or output, be the setting sound or not."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard import ExecutionStore, Settings
from rollguard.errors import ActuatorFailed, InvalidInput, InvalidSetting, RollguardError, StoreUnavailable
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.version import Version
from rollguard.notify import Dispatcher, NotDelivered, WebhookNotifier
from rollguard.registry.deploy.actuators import Request, WebhookActuator
from rollguard.settings import ActuatorSettings, NotifySettings
from rollguard.store.database.change_feed import arrivals_in
from rollguard.store.database.engine import Database
from tests.cli.conftest import Shell, empty  # noqa: F401 - a fixture
from tests.conftest import NOW
from tests.postgres import PostgresServer

PARTS = ("Us3r", "S3cret", "T0ken", "Pa1h")
DATABASES = [  # what people write, well or not; nothing of a part may be seen
    "postgresql://Us3r:S3cret@127.0.0.1:1/db?sslpassword=T0ken&application_name=Pa1h",
    "postgresql+psycopg://Us3r:S3cret@127.0.0.1:1/db",
    "postgresql://Us3r:S3cret@T0ken@127.0.0.1:1/db",
    "postgresql://Us3r:S3cret/T0ken@127.0.0.1:1/db",
    "postgresql://Us3r/S3cret:T0ken@127.0.0.1:1/db",
    "postgresql://Us3r:S3cret@T0ken/Pa1h@127.0.0.1:1/db",
    "postgresql://Us3r:S3cret?T0ken#Pa1h@127.0.0.1:1/db",
    "postgresql://Us3r:S3cret%40T0ken@127.0.0.1:1/db",
    "postgresql://Us3r:S3cret@127.0.0.1:T0ken/db",
    "postgresql://Us3r:S3cret/db",
    "postgresql://Us3r:S3cret@127.0.0.1:1/db?sslmode=T0ken",
    "postgresql://Us3r:S3cret@127.0.0.1:1/db?nothing=Pa1h",
    "postgresql//Us3r:S3cret@127.0.0.1/db",
    "Us3r:S3cret@127.0.0.1/db",
    "mysql://Us3r:S3cret@127.0.0.1/db",
    "sqlite://Us3r:S3cret@T0ken/rollguard.db",
    "postgresql://Us3r:S3cret\udc80@127.0.0.1:1/db",
]
WEBHOOKS = [
    "http://Us3r:S3cret@127.0.0.1:1/Pa1h?key=T0ken",
    "http://127.0.0.1:1/services/Pa1h/T0ken",
    "http://Us3r:1S3cret/T0ken@127.0.0.1:1/Pa1h",
    "http://Us3r:1/S3cret@127.0.0.1:1/Pa1h",
    "http://Us3r:S3cret@127.0.0.1:Pa1h/T0ken",
    "http://Us3r:S3cret@T0ken@127.0.0.1:1/Pa1h",
    "http://[Us3r/Pa1h",
    "http://127.0.0.1:1/Pa1h\nT0ken",
    "ftp://Us3r:S3cret@127.0.0.1/Pa1h",
    "https:/Us3r/S3cret",
    "Us3r:S3cret",
]
SETTINGS = [
    'database = ["{0}"]',
    "notify = '{0}'",
    "[notify]\nwebhook_urls = '{0}'",
    "[notify]\nwebhook_urls = ['{0}', '{0}']",
    "[notify]\nwebhook_urls = [['{0}']]",
    "[notify]\nwebhook_urls = ['ftp-{0}']",
    "[notify]\nunknown = '{0}'",
    "[notify]\nwebhook_urls = ['{0}'",
    "[tools]\npay = 'http://{0}'",
    "[tools.pay]\nactuator = '{0}'",
    "[tools.pay.actuator]\nkind = 'webhook'\nurl = '{0}'",
    "[tools.pay.actuator]\nkind = 'webhook'\nurl = ['{0}']\nsecret = 's'",
    "[tools.pay.actuator]\nkind = 'webhook'\nurl = 'https://x/y'\nsecret = ['{0}']",
    "[tools.pay.actuator]\nkind = 'command'\ncommand = ['x']\nurl = '{0}'",
    "[monitor]\nalpha = 'http://{0}'",
    "# \xff {0}",
]


def _silent(said: str) -> None:
    """Assert that no secret was said."""
    assert [part for part in PARTS if part in said] == [], said


def _all_of(error: BaseException) -> str:
    """Everything that is printed of an error: text, repr, notes, traceback, chain, and what its attributes show."""
    said = "".join(traceback.format_exception(error))
    todo: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while todo:
        each = todo.pop()
        if each is not None and each not in seen:
            seen.append(each)
            todo += [each.__cause__, each.__context__]
            said += f"{each} {each!r} {each.args!r} {vars(each)!r}"
    # The traceback quotes this file's own lines of code, which name the secrets.
    return "\n".join(line for line in said.splitlines() if "tests/" not in line)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log of everything, of every library, at its most talkative."""
    for name in (None, "sqlalchemy.pool", "psycopg", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield caplog
    _silent(caplog.text)


@pytest.mark.parametrize("url", DATABASES, ids=range(len(DATABASES)))
def test_of_a_database(url: str, log: pytest.LogCaptureFixture) -> None:
    """A database that cannot be understood or reached is reported without user, password and query."""
    with pytest.raises(RollguardError) as caught:
        ExecutionStore(url)
    assert isinstance(caught.value, InvalidInput | StoreUnavailable)
    _silent(_all_of(caught.value))


def test_of_a_database_that_refuses(postgres: PostgresServer, log: pytest.LogCaptureFixture) -> None:
    """The server's own words about an unknown user are reported without the user, in the chain too."""
    url = postgres.new_database().replace("postgres:@", "Us3r:S3cret@")
    with pytest.raises(StoreUnavailable, match=r'role "\*\*\*" does not exist') as caught:
        ExecutionStore(url)
    _silent(_all_of(caught.value))
    arrivals = arrivals_in(Database(url))
    with pytest.raises(StoreUnavailable) as caught:
        arrivals.wait(1.0)
    _silent(_all_of(caught.value))


def test_of_a_database_that_works(postgres: PostgresServer, log: pytest.LogCaptureFixture) -> None:
    """A database that is used shows its user neither as text nor in a driver's log."""
    postgres.execute('DROP ROLE IF EXISTS "Us3r"')
    postgres.execute("CREATE ROLE \"Us3r\" SUPERUSER LOGIN PASSWORD 'S3cret'")
    url = postgres.new_database().replace("postgres:@", "Us3r:S3cret@")
    with ExecutionStore(f"{url}&application_name=T0ken") as store:
        store.store_tool_execution(tool_name="t", success=True)
        _silent(str(store.database))
        assert "Created new connection" in log.text
    postgres.execute(f"DROP DATABASE {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")
    postgres.execute('DROP ROLE "Us3r"')


def _event() -> Event:
    return Event(EventKind.SLOWDOWN, Level.WARNING, "t", None, "title", (), NOW.isoformat())


@pytest.mark.parametrize("url", WEBHOOKS, ids=range(len(WEBHOOKS)))
def test_of_a_channel(url: str, log: pytest.LogCaptureFixture) -> None:
    """A webhook that is invalid, or does not answer, is reported by its host at most; so is it in the database."""
    try:
        notifier = WebhookNotifier(url, timeout=0.5)
    except InvalidInput as error:
        _silent(_all_of(error))
        return
    _silent(f"{notifier.name} {notifier!r}")
    with pytest.raises(NotDelivered) as caught:
        notifier.notify(_event())
    _silent(_all_of(caught.value))
    with ExecutionStore("sqlite:///:memory:") as store:
        store.outbox.add(_event().to_dict(), NOW)
        assert Dispatcher(store, [notifier]).deliver(NOW) == 0
        _silent(str(store.outbox.failing()))


@pytest.mark.parametrize("url", WEBHOOKS, ids=range(len(WEBHOOKS)))
def test_of_an_actuator(url: str, log: pytest.LogCaptureFixture) -> None:
    """A target's URL is in no error, whatever is wrong with it."""
    version = Version("t", 1, b"", "0" * 64, "initial", "me", None, None, NOW)
    with pytest.raises((InvalidInput, ActuatorFailed)) as caught:
        WebhookActuator(url, PARTS[1], timeout=0.5, pauses=()).put(Request(version, "deploy", "k", 1))
    _silent(_all_of(caught.value))


@pytest.mark.parametrize("text", SETTINGS, ids=range(len(SETTINGS)))
@pytest.mark.parametrize(
    "secret", ["https://Us3r:S3cret@h/Pa1h?T0ken", "Us3r:S3cret@h/Pa1h/T0ken"], ids=["url", "text"]
)
def test_of_settings(tmp_path: Path, text: str, secret: str, log: pytest.LogCaptureFixture) -> None:
    """A setting that is refused shows no value that may be a secret, as the file or as a variable."""
    file = tmp_path / "rollguard.toml"
    file.write_bytes(text.format(secret).encode("latin-1"))
    try:
        loaded = Settings.load(file, {})
    except InvalidSetting as error:
        _silent(_all_of(error))
    else:
        _silent(repr(loaded))


def test_of_sound_settings() -> None:
    """Settings show what is not secret."""
    url = "https://Us3r:S3cret@h/Pa1h?T0ken"
    actuator = ActuatorSettings(kind="webhook", url=url, secret="S3cret")
    settings = Settings(database=f"{url}", notify=NotifySettings(webhook_urls=(url,)), actuators={"t": actuator})
    _silent(f"{settings!r} {settings}")
    assert "min_executions" in repr(settings)


@pytest.mark.parametrize("url", [DATABASES[0], DATABASES[4], DATABASES[8]], ids=[0, 4, 8])
def test_of_the_command_line(
    empty: Shell,  # noqa: F811 - the fixture
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither an error of a command nor a finding of the doctor, as text or JSON, shows a secret of the settings."""
    monkeypatch.setenv("ROLLGUARD_DATABASE", url)
    monkeypatch.setenv("ROLLGUARD_NOTIFY__WEBHOOK_URLS", json.dumps([WEBHOOKS[0]]))
    for words in (("status",), ("doctor",), ("doctor", "--json"), ("tools", "--json")):
        ran: Any = empty.run(*words)
        assert ran.exit_code == 1
        _silent(ran.out + ran.err)
