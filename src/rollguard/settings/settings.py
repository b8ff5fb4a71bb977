"""Settings from `rollguard.toml` and the environment, which takes precedence. Only this module reads the environment.

An unknown key or an invalid value is refused; the error names the key and what is allowed.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from rollguard.errors import InvalidInput, InvalidSetting, given, unchained
from rollguard.http_client import can_be_posted_to
from rollguard.judge import Rules
from rollguard.loop.rules import LoopRules
from rollguard.model.file_access import FileAccess
from rollguard.model.names import toml_key
from rollguard.record.decorator import FailureRule, checked_timeout
from rollguard.settings.sections import (
    SETTINGS_OF_KIND,
    ActuatorSettings,
    ImproveSettings,
    NotifySettings,
    OtlpSettings,
    RecordSettings,
    SandboxSettings,
    ServiceSettings,
    SharedActuatorSettings,
    WatchSettings,
)

if TYPE_CHECKING:
    from rollguard.rehearse import RehearsalRules

AnyModel = TypeVar("AnyModel", bound=BaseModel)
AnyActuator = TypeVar("AnyActuator", bound=ActuatorSettings)
FILE_NAME = "rollguard.toml"
_PREFIX = "ROLLGUARD_"
_CONFIG = "ROLLGUARD_CONFIG"


_SECTIONS: dict[str, type[BaseModel]] = {
    "watch": WatchSettings,
    "record": RecordSettings,
    "notify": NotifySettings,
    "sandbox": SandboxSettings,
    "loop": LoopRules,
    "improve": ImproveSettings,
    "otlp": OtlpSettings,
    "service": ServiceSettings,
}
_TEXTS = ("database", "tools_dir", "schema")
_TOP = (*_TEXTS, "follow", "edit_seconds", "file_access")
_SECRET = frozenset(
    (
        *("database", "notify", "webhook_urls", "webhook_secret", "cloudevents_urls", "apprise_urls"),
        *("command", "url", "secret", "patterns"),
    )
)  # keys; values are not shown
_KNOWN = (*_TOP, "monitor", *_SECTIONS, "tools", "actuators")


@dataclass(frozen=True)
class Settings:
    """All settings, checked.

    Attributes:
        database: URL of the store. A relative SQLite path in the file is relative to the file's folder.
        tools_dir: the folder of tools. A relative path in the file is relative to the file's folder.
        follow: whether versions that go live on another machine, with another folder, are written into `tools_dir` too.
        edit_seconds: a file that is saved again within so many seconds is still the same edit, with one session.
        file_access: who may read the files that Rollguard creates for itself.
        monitor: the rules for deployments (`[monitor]`).
        tools: for a tool's name, the rules that differ for it (`[tools.NAME]`).
        failure_rules: for a tool's name, which returned results count as failures (`[tools.NAME.failure]`).
        timeouts: for a tool's name, the seconds after which a call counts as failed (`[tools.NAME] timeout_seconds`).
        actuators: for a tool's name, what makes its versions live (`[tools.NAME.actuator]`).
        shared_actuators: what makes the versions of several tools live together (`[actuators.NAME]`).
        rehearsals: for a tool's name, how candidates for it are rehearsed (`[tools.NAME.rehearse]`).
        granted: for a tool's name, the values of the variables that it may use in a rehearsal.
        improver_variables: the values of the variables of the environment that improvers are given.
        file: the file that was read, or None.
        schema: the PostgreSQL schema that holds the store; None leaves it to the URL and the server.
    """

    database: str = field(default="sqlite:///rollguard.db", repr=False)
    tools_dir: Path = Path("tools")
    follow: bool = True
    edit_seconds: float = 60.0
    file_access: FileAccess = FileAccess.OWNER
    monitor: Rules = field(default_factory=Rules)
    watch: WatchSettings = field(default_factory=WatchSettings)
    record: RecordSettings = field(default_factory=RecordSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    loop: LoopRules = field(default_factory=LoopRules)
    improve: ImproveSettings = field(default_factory=ImproveSettings)
    service: ServiceSettings = field(default_factory=ServiceSettings)
    otlp: OtlpSettings = field(default_factory=OtlpSettings)
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failure_rules: Mapping[str, FailureRule] = field(default_factory=dict)
    timeouts: Mapping[str, float] = field(default_factory=dict)
    actuators: Mapping[str, ActuatorSettings] = field(default_factory=dict)
    shared_actuators: Mapping[str, SharedActuatorSettings] = field(default_factory=dict)
    rehearsals: Mapping[str, RehearsalRules] = field(default_factory=dict)
    granted: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    improver_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: Path | None = None
    schema: str | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of the file, or the working folder: modules that settings name may be in it."""
        return self.file.parent if self.file else Path.cwd()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Args:
            path: the file; by default the one `ROLLGUARD_CONFIG` names, else `rollguard.toml` in the working folder or
                the nearest folder above it, else none.
            environ: the environment; by default the process's.

        Raises:
            InvalidSetting: the file cannot be read, a key is unknown or a value is invalid.
        """
        try:
            return _load(path, os.environ if environ is None else environ)
        except InvalidSetting as error:
            refused = error
        return unchained(refused)  # what caused it shows the values


def _load(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Settings:
    file = _file(path, environ)
    values = {} if file is None else _read(file)
    if file is not None:
        _from_the_files_folder(values, file.parent)
    _merge(values, _from_environment(environ))
    return _settings(values, file, environ)


def find_file(start: Path) -> Path | None:
    """Return `rollguard.toml` in `start` or the nearest folder above it, or None."""
    folders = (start, *start.parents)
    return next((folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file()), None)


def _file(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path | None:
    given = path or environ.get(_CONFIG)
    return Path(given).absolute() if given else find_file(Path.cwd())


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidSetting(str(file), f"cannot be read: {error.strerror}; make one with: rollguard init") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(str(file), f"is not valid TOML: {error}") from error


def _from_the_files_folder(values: dict[str, Any], folder: Path) -> None:
    tools, database = values.get("tools_dir", "tools"), values.get("database", "sqlite:///rollguard.db")
    if isinstance(tools, str):
        values["tools_dir"] = str(folder / tools)
    if isinstance(database, str) and database.startswith("sqlite:///"):
        path, question, query = database.removeprefix("sqlite:///").partition("?")
        if path and path != ":memory:" and not path.startswith("file:"):
            values["database"] = f"sqlite:///{folder / path}{question}{query}"
    service = values.get("service")
    for key in ("tls_cert", "tls_key"):
        if isinstance(service, dict) and isinstance(service.get(key), str) and service[key]:
            service[key] = str(folder / service[key])
    sandbox = values.get("sandbox")
    libraries = sandbox.get("libraries") if isinstance(sandbox, dict) else None
    if isinstance(libraries, list) and all(isinstance(each, str) for each in libraries):
        values["sandbox"]["libraries"] = [str(folder / each) for each in libraries]


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read the environment: `ROLLGUARD_MONITOR__MIN_EXECUTIONS=20` is `[monitor] min_executions = 20`."""
    values: dict[str, Any] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(_PREFIX) or variable == _CONFIG:
            continue
        section, _, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if section in _TOP and not key:
            values[section] = text if section in _TEXTS else toml_value(text)
        elif section in ("monitor", *_SECTIONS) and key:
            values.setdefault(section, {})[key] = toml_value(text)
        else:
            known = [f"{_PREFIX}{name.upper()}" for name in _TOP]
            known += [f"{_PREFIX}{name.upper()}__…" for name in ("monitor", *_SECTIONS)]
            raise InvalidSetting(variable, f"unknown variable; the known ones are {_CONFIG}, {', '.join(known)}")
    return values


def toml_value(text: str) -> Any:
    """Read a value as TOML if it is valid TOML, else as the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(values: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key].update(value)
        else:
            values[key] = value


def _settings(values: dict[str, Any], file: Path | None, environ: Mapping[str, str]) -> Settings:
    for key in values:
        if key not in _KNOWN:
            inside = {"monitor": Rules.__dataclass_fields__, **{name: s.model_fields for name, s in _SECTIONS.items()}}
            if place := next((name for name, names in inside.items() if key in names), None):
                raise InvalidSetting(key, f"unknown setting; it belongs under [{place}]")
            raise InvalidSetting.unknown(key, _KNOWN)
    for key in _TEXTS:
        if key in values and (not isinstance(values[key], str) or not values[key]):
            raise InvalidSetting(key, f"{given(values[key], secret=key in _SECRET)} is not a non-empty string")
    if not isinstance(values.get("follow", True), bool):
        raise InvalidSetting("follow", f"{given(values['follow'])} is neither true nor false")
    seconds = values.get("edit_seconds", Settings.edit_seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 86_400:
        raise InvalidSetting("edit_seconds", f"{given(seconds)} is not a number of seconds from 0 to 86400")
    access = values.get("file_access", "owner")
    if access not in list(FileAccess):
        allowed = ", ".join(f'"{each}"' for each in FileAccess)
        raise InvalidSetting("file_access", f"{given(access)} is not one of {allowed}")
    monitor = _rules("monitor", Rules(), _table("monitor", values))
    actuators = _actuators(_table("tools", values), environ)
    shared = _shared_actuators(_table("actuators", values), actuators, environ)
    rehearsals = _rehearsals(_table("tools", values))
    tools, failure_rules, timeouts = _tools(_table("tools", values), monitor)
    sections: dict[str, Any] = {name: _checked(name, _table(name, values), model) for name, model in _SECTIONS.items()}
    return Settings(
        database=values.get("database", Settings.database),
        schema=values.get("schema"),
        tools_dir=Path(values.get("tools_dir", Settings.tools_dir)),
        follow=values.get("follow", Settings.follow),
        edit_seconds=float(seconds),
        file_access=FileAccess(access),
        monitor=monitor,
        tools=tools,
        failure_rules=failure_rules,
        timeouts=timeouts,
        actuators=actuators | {tool: each for each in shared.values() for tool in each.tools},
        shared_actuators=shared,
        rehearsals=rehearsals,
        granted={
            name: {variable: environ[variable] for variable in rules.grants if variable in environ}
            for name, rules in rehearsals.items()
        },
        improver_variables={
            variable: environ[variable]
            for improver in sections["improve"].improvers
            for variable in improver.variables
            if variable in environ
        },
        file=file,
        **sections,
    )


def _table(key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    table = values.get(key, {})
    if not isinstance(table, dict):
        secret = key in _SECRET or key.endswith(".actuator")
        raise InvalidSetting(key, f"{given(table, secret=secret)} is not a table; write [{key}]")
    return table


def _rules(key: str, base: Rules, table: Mapping[str, Any]) -> Rules:
    try:
        return base.with_overrides(table)
    except InvalidSetting as error:
        raise InvalidSetting(f"{key}.{error.key}", error.problem) from error


def _tools(
    tables: Mapping[str, Any], monitor: Rules
) -> tuple[dict[str, dict[str, Any]], dict[str, FailureRule], dict[str, float]]:
    tools: dict[str, dict[str, Any]] = {}
    timeouts: dict[str, float] = {}
    failure_rules: dict[str, FailureRule] = {}
    for name in tables:
        table, key = dict(_table(name, tables)), toml_key(name)
        if "failure" in table:
            failure_rules[name] = FailureRule.from_settings(f"tools.{key}.failure", _table("failure", table))
            del table["failure"]
        table.pop("actuator", None)
        table.pop("rehearse", None)
        if "timeout_seconds" in table:
            timeouts[name] = _timeout(f"tools.{key}.timeout_seconds", table.pop("timeout_seconds"))
        _refuse_dotted(name, table)
        _rules(f"tools.{key}", monitor, table)
        tools[name] = table
    return tools, failure_rules, timeouts


def _timeout(key: str, seconds: object) -> float:
    try:
        return checked_timeout(seconds)
    except InvalidInput as error:
        raise InvalidSetting(key, str(error).partition(": ")[2]) from error


def _refuse_dotted(name: str, table: Mapping[str, Any]) -> None:
    """Say how to write the name of a tool that holds a dot, which TOML takes for a table in a table."""
    for part, value in table.items():
        if isinstance(value, dict):
            dotted = toml_key(f"{name}.{part}")
            raise InvalidSetting(
                f"tools.{toml_key(name)}.{toml_key(part)}",
                f"is a table, and no rule is one; if the tool is named {name}.{part}, write [tools.{dotted}]",
            )


def _actuators(tables: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, ActuatorSettings]:
    actuators = {}
    for name in tables:
        tool = _table(name, tables)
        if "actuator" in tool:
            key = f"tools.{toml_key(name)}.actuator"
            table = _table(key, {key: tool["actuator"]})
            actuators[name] = _whole(key, _checked(key, table, ActuatorSettings), environ)
    return actuators


def _shared_actuators(
    tables: Mapping[str, Any], own: Mapping[str, ActuatorSettings], environ: Mapping[str, str]
) -> dict[str, SharedActuatorSettings]:
    shared: dict[str, SharedActuatorSettings] = {}
    taken = {tool: f"tools.{toml_key(tool)}.actuator" for tool in own}
    for name in tables:
        key = f"actuators.{toml_key(name)}"
        each = _whole(key, _checked(key, _table(name, tables), SharedActuatorSettings), environ)
        if each.kind == "folder":
            raise InvalidSetting(
                f"{key}.kind", 'is "folder", where each tool has its own file; give "command" or "webhook"'
            )
        for tool in each.tools:
            if tool in taken:
                raise InvalidSetting(f"{key}.tools", f"{tool} has another actuator, in [{taken[tool]}]; leave one out")
            taken[tool] = key
        shared[name] = each
    return shared


def _rehearsals(tables: Mapping[str, Any]) -> dict[str, RehearsalRules]:
    rehearsals = {}
    for name in tables:
        tool = _table(name, tables)
        if "rehearse" in tool:
            from rollguard.rehearse import RehearsalRules  # it brings the sandbox, and most settings have none

            key = f"tools.{toml_key(name)}.rehearse"
            rehearsals[name] = _checked(key, _table(key, {key: tool["rehearse"]}), RehearsalRules)
    return rehearsals


def _whole(key: str, actuator: AnyActuator, environ: Mapping[str, str]) -> AnyActuator:
    """Return the actuator with its secret; refuse missing settings, and settings of another kind."""
    for other in sorted(
        actuator.model_fields_set - SETTINGS_OF_KIND[actuator.kind] - {"kind", "timeout_seconds", "tools"}
    ):
        raise InvalidSetting(f"{key}.{other}", f'has no meaning where kind is "{actuator.kind}"')
    if actuator.kind == "command" and not actuator.command:
        raise InvalidSetting(f"{key}.command", 'missing; give a list, such as ["./deploy.sh", "{tool}", "{file}"]')
    if actuator.kind != "webhook":
        return actuator
    if not can_be_posted_to(actuator.url):
        raise InvalidSetting(f"{key}.url", "is no URL with a host, as https://host/path")
    if actuator.secret_env:
        actuator = actuator.model_copy(update={"secret": SecretStr(environ.get(actuator.secret_env, ""))})
    if not actuator.secret.get_secret_value():
        where = f"the variable {actuator.secret_env} is not set" if actuator.secret_env else "missing"
        raise InvalidSetting(f"{key}.secret", f"{where}; give a secret, or secret_env, which names a variable with it")
    return actuator


def _checked(name: str, table: Mapping[str, Any], model: type[AnyModel]) -> AnyModel:
    try:
        return model(**table)
    except ValidationError as error:
        refused = InvalidSetting.of(error.errors()[0], model.model_fields, secret=_SECRET)
        raise InvalidSetting(f"{name}.{refused.key}".rstrip("."), refused.problem) from error
