"""What is recorded of a call is safe to keep: no secrets, nothing that a framework gives, nothing left out by name."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, Field, SecretStr, field_serializer

from rollguard import ExecutionStore, Rollguard, ToolRegistry, tool
from rollguard.errors import InvalidInput, InvalidSetting
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.redaction import DEFAULT, Redaction
from rollguard.notify import Dispatcher
from rollguard.record.injected import injected_into
from rollguard.registry.serve.json_schema import definition_of
from rollguard.registry.serve.loader import load
from rollguard.settings import Settings
from rollguard.store.executions.payloads import Payloads

SECRET = "hunter2-and-more"


def of(module: str, name: str, **fields: Any) -> Any:
    """A dataclass as a framework's package has it."""
    made = dataclass(type(name, (), {"__annotations__": dict.fromkeys(fields, Any), **fields}))
    made.__module__ = module
    return made


RunContext = of("pydantic_ai._run_context", "RunContext", deps=None)
RunContextWrapper = of("agents.run_context", "RunContextWrapper", context=None)
ToolRuntime = of("langgraph.prebuilt.tool_node", "ToolRuntime", state=None)
InjectedState = of("langgraph.prebuilt.tool_node", "InjectedState")
InjectedToolArg = of("langchain_core.tools.base", "InjectedToolArg")
Context = of("mcp.server.fastmcp.server", "Context", request_context=None)
Depends = of("fastapi.params", "Depends", dependency=None)


class RunnableConfig(TypedDict, total=False):
    tags: list[str]


RunnableConfig.__module__ = "langchain_core.runnables.config"


class Client:
    """What a program's own code gives its tools: no JSON."""

    def __repr__(self) -> str:
        return f"Client({SECRET})"


class Order(BaseModel):
    item: str


def rows(store: ExecutionStore) -> list[dict[str, Any]]:
    with store.database.read() as connection:
        found = connection.execute(sa.text("SELECT * FROM tool_executions ORDER BY id")).mappings().all()
    return [dict(row) for row in found]


def given(store: ExecutionStore) -> Any:
    text = rows(store)[-1]["parameters"]
    return None if text is None else json.loads(text)


# --- what frameworks give --------------------------------------------------------------------------------------------


def every_kind(
    city: str,
    context: RunContext,
    wrapper: RunContextWrapper,
    runtime: ToolRuntime | None,
    state: Annotated[dict[str, Any], InjectedState],
    user: Annotated[str, InjectedToolArg()],
    config: RunnableConfig,
    mcp: Context,
    client: Client,
    on_done: Callable[[], None],
    late: Nowhere.RunContext[Any],  # noqa: F821 - exists for type checkers only
    orders: list[Order],
    session: Any = Depends(),  # noqa: B008 - so does FastAPI
) -> None: ...


def test_annotations_tell_what_is_injected() -> None:
    """Contexts, callbacks, dependencies and what has no JSON are found by annotation, also by its text alone."""
    found = injected_into(every_kind)
    named = set(every_kind.__annotations__) - {"return", "city", "orders"}
    assert found.names == named
    assert found.described == {"city", "orders"}


def test_contexts_are_not_described(tmp_path: Path) -> None:
    """A model is told of the parameters that it can give, and of no others."""
    code = b"""
from __future__ import annotations
from typing import TYPE_CHECKING, Any
if TYPE_CHECKING:
    from pydantic_ai import RunContext
class Client: ...
def my_tool(context: RunContext[Client], city: str, client: Client | None = None) -> Any: ...
"""
    described = definition_of(load("my_tool", code, tmp_path / "my_tool.py", "0" * 64))["parameters"]
    assert list(described["properties"]) == ["city"]
    assert described["required"] == ["city"]


def test_contexts_are_not_recorded(store: ExecutionStore) -> None:
    """What a framework gives is not recorded: by annotation, and by its value where none is written."""

    @tool(store=store)
    def annotated(context: RunContext, city: str, config: RunnableConfig) -> None: ...

    @tool(store=store)
    def bare(context, city, client, order: Order, **others) -> None: ...  # type: ignore[no-untyped-def]

    annotated(RunContext(), "Oslo", {"tags": ["a"]})
    assert given(store) == {"city": "Oslo"}
    bare(
        RunContext(), "Oslo", Client(), Order(item="a"), order_too=Order(item="b"), at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert given(store) == {"city": "Oslo", "order": {"item": "a"}, "at": "2026-01-01T00:00:00Z"}
    bare(RunContext(), [Client()], None, None)
    assert given(store) == {"city": ["<Client>"], "client": None, "order": None}


def test_contexts_of_a_registry(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A tool of the folder is recorded in the same way, and so is a class with `execute`."""
    (tools_dir / "my_tool.py").write_text(
        "from rollguard import tool\nclass Client: ...\n@tool(skip=['note'])\n"
        "def my_tool(city, client: Client = None, note: str = ''): return city\n"
    )
    registry.call("my_tool", city="Oslo", client=Client(), note="private")
    assert given(store) == {"city": "Oslo"}
    (tools_dir / "other.py").write_text(
        "from rollguard import tool\n@tool(record=['city'], record_result=False)\nclass Other:\n"
        "    def get_tool_definition(self): return {}\n    def execute(self, city, note): return city\n"
    )
    assert registry.call("other", city="Oslo", note="private") == "Oslo"
    assert given(store) == {"city": "Oslo"}
    assert rows(store)[-1]["result"] is None


def test_record_and_skip(store: ExecutionStore) -> None:
    """`record` names what is recorded, a context too; `skip` what is not; `record_result` leaves results out."""

    @tool(store=store, record=["context"], record_result=False, is_failure=bool)
    def named(context: RunContext, city: str) -> str:
        return city

    @tool(store=store, skip=["note"])
    def skipping(city: str, note: str) -> str:
        raise ValueError(f"{city}: {note} is wrong")

    named(RunContext(), "Oslo")
    assert given(store) == {"context": {"deps": None}}
    assert (rows(store)[-1]["result"], rows(store)[-1]["error"]) == (None, "returned a result that counts as a failure")
    with pytest.raises(ValueError, match="private note is wrong"):
        skipping("Oslo", "private note")
    assert given(store) == {"city": "Oslo"}
    assert rows(store)[-1]["error"] == "Oslo: *** is wrong"


@pytest.mark.parametrize(("key", "value"), [("record", ["town"]), ("skip", ["town"]), ("skip", "city")])
def test_names_that_no_parameter_has(key: str, value: Any) -> None:
    """A name that is no parameter, and a text for the list of names, are refused where the function is decorated."""
    with pytest.raises(InvalidInput, match=f"{key}: .*(no parameter; those of the function are city|not a list)"):

        @tool(**{key: value})
        def my_tool(city: str) -> None: ...


# --- secrets ---------------------------------------------------------------------------------------------------------


SECRETS = (
    "api_key apiKey API-KEY openai_api_key X-Api-Key password db_password passwd token access_token authToken "
    "secret client_secret Authorization Proxy-Authorization cookie Set-Cookie credentials private_key jwt "
    "refresh_tokens connection_string aws_secret_access_key "
)
NO_SECRETS = (
    "city key keys max_tokens token_count total_tokens tokens next_page_token token_type author secretary "
    "monkey keyboard passenger bypass cookbook password_length input_tokens "
)


@pytest.mark.parametrize(
    "name",
    SECRETS.split(),
)
def test_names_of_secrets(name: str) -> None:
    """What is usually secret is so by its name, however it is written."""
    assert DEFAULT.hides(name)


@pytest.mark.parametrize(
    "name",
    NO_SECRETS.split(),
)
def test_names_of_no_secrets(name: str) -> None:
    """What only resembles one, and is needed to understand a failure, is kept."""
    assert not DEFAULT.hides(name)


def test_secrets_are_redacted_by_default(store: ExecutionStore) -> None:
    """The natural decorator stores no key: not in parameters, results, nor in the error that names it, nested too."""

    @dataclass
    class Login:
        user: str
        password: str

    @tool(store=store)
    def fetch(url: str, api_key: str, headers: dict[str, str], login: Login) -> dict[str, Any]:
        if url == "bad":
            raise PermissionError(f"key {api_key} refused for {login}; Authorization: Bearer {headers['Cookie']}")
        return {"token": SECRET, "max_tokens": 5, "inner": [{"client_secret": SECRET}]}

    headers = {"Cookie": f"{SECRET}; b", "Accept": "json"}
    fetch("good", SECRET, headers, Login("ann", f"{SECRET}!"))
    assert given(store) == {
        "url": "good",
        "api_key": "***",
        "headers": {"Cookie": "***", "Accept": "json"},
        "login": {"user": "ann", "password": "***"},
    }
    assert json.loads(rows(store)[-1]["result"]) == {
        "token": "***",
        "max_tokens": 5,
        "inner": [{"client_secret": "***"}],
    }
    with pytest.raises(PermissionError):
        fetch("bad", SECRET, headers, Login("ann", f"{SECRET}!"))
    error = rows(store)[-1]["error"]
    assert error.startswith("key *** refused for ")
    assert SECRET not in str(rows(store))


def test_secrets_of_direct_recording(store: ExecutionStore) -> None:
    """`store_tool_execution` redacts in the same way, the error beside its parameters too."""
    store.store_tool_execution(
        tool_name="t", success=False, parameters={"password": SECRET}, error=f"ValueError: {SECRET} is too short"
    )
    assert rows(store)[-1]["error"] == "ValueError: *** is too short"
    assert given(store) == {"password": "***"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("401 for https://ann:pw@host/path", "401 for https://***@host/path"),
        ("invalid key sk-proj-abcdefghijklmnopqrst", "invalid key ***"),
        ("{'api_key': 'abc', 'city': 'Oslo'}", "{'api_key': ***, 'city': 'Oslo'}"),
        ("curl -H Authorization: Bearer abc.def", "curl -H Authorization: ***"),
        ("GET /x?token=abc&q=1", "GET /x?token=***&q=1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII", "***"),
        ("max_tokens=5 is too few", "max_tokens=5 is too few"),
        ("KeyError: 'city'", "KeyError: 'city'"),
        ("error: password=abc", "error: password=***"),
    ],
)
def test_texts_of_errors(text: str, kept: str) -> None:
    """Secrets that an error's text shows by their form or by a name before them are redacted."""
    assert DEFAULT.text(text) == kept


def test_own_names_and_patterns() -> None:
    """The user's names and patterns hold in parameters, results and errors; the defaults can be left out."""
    redaction = Redaction(["*_card", "SSN"], [r"\b\d{4}-\d{4}\b"])
    payloads = Payloads(redaction=redaction)
    value = {"ssn": 1, "visa_card": "x", "note": "card 1234-5678 of ann", "flag_card": True}
    kept = json.loads(payloads.encode("t", "result", value) or "")
    assert kept == {"ssn": "***", "visa_card": "***", "note": "card *** of ann", "flag_card": True}
    assert payloads.error("card 1234-5678") == "card ***"
    open_handed = Payloads(redaction=Redaction(defaults=False))
    assert json.loads(open_handed.encode("t", "result", {"token": "a"}) or "") == {"token": "a"}
    for pattern in ("(", "a*"):
        with pytest.raises(InvalidInput, match="patterns: entry 1 ") as refused:
            Redaction([], [pattern])
        assert repr(pattern) not in str(refused.value)


def test_models_keep_what_they_hide() -> None:
    """Fields that a model excludes, masks or writes in its own way stay so, and the others are redacted by name."""

    class Card(BaseModel):
        number: str = Field(default=SECRET, exclude=True)
        pin: SecretStr = SecretStr(SECRET)
        api_key: str = SECRET
        owner: str = "ann"

    class Masked(BaseModel):
        code: str = SECRET

        @field_serializer("code")
        def mask(self, _code: str) -> str:
            return "masked"

    kept = json.loads(Payloads().encode("t", "result", [Card(), Masked()]) or "")
    assert kept == [{"pin": "**********", "api_key": "***", "owner": "ann"}, {"code": "masked"}]


# --- the work for a payload ------------------------------------------------------------------------------------------


class Counting(Mapping[str, Any]):
    """A mapping that counts what is read of it."""

    def __init__(self) -> None:
        self.read = 0

    def __getitem__(self, key: str) -> Any:
        self.read += 1
        return {"role": "user", "content": "x" * 300}

    def __iter__(self) -> Iterator[str]:
        return (f"message {number}" for number in range(len(self)))

    def __len__(self) -> int:
        return 1_000_000


def test_work_is_bounded_by_what_is_kept() -> None:
    """Of a value that is a thousand times the limit, no more is read than the limit holds."""
    messages = Counting()
    text = Payloads(max_bytes=16_384).encode("t", "parameters", {"context": messages})
    assert text is not None
    assert len(text) <= 16_384
    assert json.loads(text)["truncated"] is True
    assert messages.read < 16_384 / 300
    tail: list[Any] = []
    for one in [*[{"a": "x" * 100}] * 1_000, tail]:
        tail.append(one)
    assert json.loads(Payloads(max_bytes=500).encode("t", "result", tail) or "")["beginning"].startswith('[{"a":"xxx')


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module beside `rollguard.toml`, importable under a name of its own."""
    name = f"alerts_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(
        "class Pager:\n    name = 'pager'\n    def __init__(self): self.got = []\n"
        "    def notify(self, event): self.got.append(event)\n"
        "class Picky(Pager):\n    def __init__(self, url): raise ValueError(url)\n"
        "class Mute: name = 'mute'\n"
        "def redact(tool_name, what, value): return {'by': tool_name}\n"
        "number = 5\n"
    )
    (tmp_path / f"{name}_bad.py").write_text(f"raise RuntimeError('{SECRET}')\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


def guard_of(tmp_path: Path, toml: str) -> Rollguard:
    (tmp_path / "rollguard.toml").write_text(toml)
    return Rollguard.from_settings(tmp_path / "rollguard.toml", {})


def test_notifiers_and_redaction_by_import_path(tmp_path: Path, package: str) -> None:
    """Settings name a class of notifiers and a function that redacts, beside `rollguard.toml` or installed."""
    toml = f'[notify]\nnotifiers = "{package}:Pager"\n[record]\nredact = "{package}:redact"\n'
    with guard_of(tmp_path, toml) as guard:
        (pager,) = (one for one in guard.monitor.dispatcher._notifiers.values() if one.name == "pager")
        assert pager.got == []  # type: ignore[attr-defined]
        guard.store.store_tool_execution(tool_name="t", success=True, parameters={"a": 1})
        assert given(guard.store) == {"by": "t"}


@pytest.mark.parametrize(
    ("setting", "path", "complaint"),
    [
        ("notifiers", "{}:Nobody", "notify.notifiers: {0}:Nobody: {0} has no Nobody"),
        (
            "notifiers",
            "nowhere.at_all:Pager",
            "notify.notifiers: .*there is no module nowhere, neither installed nor in",
        ),
        ("notifiers", "{}:Picky", "notify.notifiers: .*Picky.. failed with TypeError; it is called without arguments"),
        ("notifiers", "{}:Mute", "notify.notifiers: .* has no notify"),
        (
            "notifiers",
            "{}_bad:Pager",
            "notify.notifiers: importing {0}_bad failed with RuntimeError; see why with: python",
        ),
        ("notifiers", "Pager", 'notify.*"package.module:name"'),
        ("redact", "{}:number", "record.redact: {0}:number is int, not a function"),
        ("redact", "redact", 'record.*redact.*"package.module:name"'),
    ],
)
def test_wrong_import_paths(tmp_path: Path, package: str, setting: str, path: str, complaint: str) -> None:
    """A path that leads nowhere is refused by its key, and by what is wrong; no text of another error is shown."""
    section = "record" if setting == "redact" else "notify"
    with pytest.raises(InvalidSetting, match=complaint.format(package)) as refused:
        guard_of(tmp_path, f'[{section}]\n{setting} = "{path.format(package)}"\n')
    error: BaseException | None = refused.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__


def test_redaction_in_settings(tmp_path: Path) -> None:
    """`[record.redact]` names further secrets, and can leave the defaults out; a wrong pattern is not shown."""
    with guard_of(tmp_path, '[record.redact]\nnames = ["ssn"]\npatterns = ["[0-9]{4}"]\ndefaults = false\n') as guard:
        guard.store.store_tool_execution(tool_name="t", success=True, parameters={"ssn": 1, "token": "a", "n": "1234"})
        assert given(guard.store) == {"ssn": "***", "token": "a", "n": "***"}
    for wrong in ('patterns = ["hunter2("]', "patterns = 5", "names = [5]", "unknown = 1"):
        with pytest.raises(InvalidSetting, match=r"record\.redact") as refused:
            guard_of(tmp_path, f"[record.redact]\n{wrong}\n")
        assert "hunter2" not in str(refused.value)
    assert Settings.load(None, {"ROLLGUARD_RECORD__REDACT": "a.b:c"}).record.redact.function == "a.b:c"


# --- alerts ----------------------------------------------------------------------------------------------------------


@dataclass
class Pager:
    name: str = "pager"
    got: list[Event] = field(default_factory=list)

    def notify(self, event: Event) -> None:
        self.got.append(event)


def test_alerts_without_parameters(store: ExecutionStore) -> None:
    """An alert shows what failed calls were given only if it is asked to, and secrets never."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    sample = {"error": f"password={SECRET}", "parameters": '{"city":"Oslo"}'}
    details = {"investigation": {"signatures": [{"signature": "E", "samples": [sample]}]}}
    event = Event(
        EventKind.ROLLED_BACK,
        Level.WARNING,
        "t",
        None,
        "t: rolled back",
        (f"token: {SECRET}",),
        now.isoformat(),
        details,
    )
    store.outbox.add(event.to_dict(), now)
    quiet, open_handed = Pager(), Pager()
    Dispatcher(store, [quiet]).deliver(now)
    assert quiet.got[0].details["investigation"]["signatures"][0]["samples"] == [{"error": "password=***"}]
    assert quiet.got[0].reasons == ("token: ***",)
    store.outbox.add(event.to_dict() | {"event_id": "2"}, now)
    Dispatcher(store, [open_handed], parameters=True).deliver(now)
    (shown,) = open_handed.got[-1].details["investigation"]["signatures"][0]["samples"]
    assert shown == {"error": "password=***", "parameters": '{"city":"Oslo"}'}
