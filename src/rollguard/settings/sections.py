"""The sections of `rollguard.toml`, each with its defaults and what is valid."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from rollguard.errors import InvalidInput, InvalidSetting, given
from rollguard.http_client import can_be_posted_to
from rollguard.model.redaction import Redaction
from rollguard.record.endings import CONTROL_FLOW, checked_paths
from rollguard.sandbox import Isolation


class Section(BaseModel):
    """A section: no unknown keys, and no values in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class WatchSettings(Section):
    """`[watch]`: how often every session is checked."""

    check_interval_seconds: float = Field(default=300.0, ge=1, le=86_400)


_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _checked_import_path(path: str) -> str:
    if path and not _IMPORT_PATH.fullmatch(path):
        raise InvalidSetting("", f'{given(path)} is not an import path; write "package.module:name"')
    return path


ImportPath = Annotated[str, AfterValidator(_checked_import_path)]


class RedactSettings(Section):
    """`[record.redact]`: what is a secret, in parameters, results, errors and alerts."""

    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = Field(default=(), repr=False)
    defaults: bool = True
    function: ImportPath = ""

    @model_validator(mode="before")
    @classmethod
    def _function_alone(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _valid(self) -> Self:
        try:
            self.redaction()
        except InvalidInput as error:
            raise InvalidSetting("", str(error)) from None
        return self

    def redaction(self) -> Redaction:
        """Return what these settings say is a secret."""
        return Redaction(self.names, self.patterns, defaults=self.defaults)


class RecordSettings(Section):
    """`[record]`: what Rollguard stores of a call, and for how long."""

    store_payloads: bool = True
    payload_limit: int = Field(default=16_384, ge=64, le=16_777_216)
    busy_timeout_seconds: float = Field(default=5.0, ge=0, le=600)
    durable: bool = False
    spool_fsync: bool = True
    flush_interval_seconds: float = Field(default=0.1, ge=0.001, le=60)
    buffer_size: int = Field(default=50_000, ge=1, le=10_000_000)
    retention_days: int = Field(default=30, ge=0, le=3_650)
    amend_within_seconds: float = Field(default=3_600.0, ge=0, le=604_800)
    redact: RedactSettings = Field(default_factory=RedactSettings)
    control_flow: tuple[str, ...] = CONTROL_FLOW

    @field_validator("control_flow")
    @classmethod
    def _are_import_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return checked_paths(paths)
        except InvalidInput as error:
            raise InvalidSetting("", str(error).partition(": ")[2]) from error


class NotifySettings(Section):
    """`[notify]`: who is notified of rollbacks and warnings."""

    log: bool = True
    webhook_urls: tuple[str, ...] = Field(default=(), repr=False)
    webhook_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    webhook_secret: SecretStr = SecretStr("")
    cloudevents_urls: tuple[str, ...] = Field(default=(), repr=False)
    apprise_urls: tuple[str, ...] = Field(default=(), repr=False)
    base_url: str = ""
    group_seconds: float = Field(default=60.0, ge=0, le=3_600)
    notifiers: tuple[ImportPath, ...] = ()
    parameters: bool = False

    @field_validator("notifiers", mode="before")
    @classmethod
    def _one_alone(cls, paths: Any) -> Any:
        return [paths] if isinstance(paths, str) else paths

    @field_validator("apprise_urls")
    @classmethod
    def _all_different(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for number, url in enumerate(urls, start=1):
            if "://" not in url:
                raise InvalidSetting("", f"entry {number} is no URL of Apprise, as mailto://user:password@host")
            if urls.count(url) > 1:
                raise InvalidSetting("", f"entry {number} stands in it twice")
        return urls

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if url and not can_be_posted_to(url):
            raise InvalidSetting("", f"{given(url)} is no URL with a host, as https://rollguard.example")
        return url

    @field_validator("webhook_urls", "cloudevents_urls")
    @classmethod
    def _each_once(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for number, url in enumerate(urls, start=1):
            if not url.startswith(("http://", "https://")):
                raise InvalidSetting("", f"entry {number} does not begin with http:// or https://")
            if not can_be_posted_to(url):
                raise InvalidSetting("", f"entry {number} is no URL with a host, as https://host/path")
            if urls.count(url) > 1:
                raise InvalidSetting("", f"entry {number} stands in it twice")
        return urls


class SandboxSettings(Section):
    """`[sandbox]`: what a tool that nobody has read yet is run with."""

    isolation: Isolation = Isolation.REQUIRED
    libraries: tuple[str, ...] = ()

    @field_validator("isolation", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value not in list(Isolation):
            allowed = ", ".join(f'"{each}"' for each in Isolation)
            raise InvalidSetting("", f"{given(value)} is not one of {allowed}")
        return value


class ImproverSettings(Section):
    """One entry of `[[improve.improvers]]`: something that writes repairs. The environment has the secrets."""

    kind: Literal["command", "callable", "model", "earlier_version", "retry"]
    name: str = ""
    command: tuple[str, ...] = Field(default=(), repr=False)
    environment: tuple[str, ...] = ("PATH",)
    function: ImportPath = ""
    model: str = ""
    base_url: str = Field(default="", repr=False)
    key_env: str = ""
    attempts: int = Field(default=2, ge=1, le=10)
    max_tokens: int = Field(default=16_384, ge=256, le=1_000_000)
    timeout_seconds: float = Field(default=900.0, gt=0, le=86_400)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        for other in sorted(set(value) - set(cls.model_fields)) if isinstance(value, dict) else ():
            raise InvalidSetting.unknown(other, cls.model_fields)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        known = SETTINGS_OF_IMPROVER[self.kind]
        for other in sorted(self.model_fields_set - known - {"kind", "name"}):
            raise InvalidSetting(other, f'has no meaning where kind is "{self.kind}"')
        if self.kind == "command" and not self.command:
            raise InvalidSetting("command", 'missing; give a list, such as ["./improve.sh"]')
        if self.kind == "callable" and not self.function:
            raise InvalidSetting("function", 'missing; give an import path, such as "package.module:name"')
        if self.kind == "model" and not self.model:
            raise InvalidSetting("model", 'missing; name one, such as "openai:gpt-5", or a name that base_url knows')
        if self.base_url and not can_be_posted_to(self.base_url):
            raise InvalidSetting("base_url", "is no URL with a host, as https://host/v1")
        return self

    @property
    def called(self) -> str:
        """Return its name: by default its kind."""
        return self.name or self.kind

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the variables of the environment that it is given."""
        if self.kind == "command":
            return self.environment
        return (self.key_env,) if self.key_env else ()


SETTINGS_OF_IMPROVER = {
    "command": {"command", "environment", "timeout_seconds"},
    "callable": {"function", "timeout_seconds"},
    "model": {"model", "base_url", "key_env", "attempts", "max_tokens", "timeout_seconds"},
    "earlier_version": set[str](),
    "retry": set[str](),
}
"""Which settings of an improver have a meaning, by its kind."""


class ImproveSettings(Section):
    """`[improve]`: what writes repairs, in the order in which it is asked. Without any, nothing is."""

    improvers: tuple[ImproverSettings, ...] = ()

    @field_validator("improvers")
    @classmethod
    def _each_name_once(cls, improvers: tuple[ImproverSettings, ...]) -> tuple[ImproverSettings, ...]:
        names = [improver.called for improver in improvers]
        for name in names:
            if names.count(name) > 1:
                raise InvalidSetting("", f"two are named {name}; give each a name of its own")
        return improvers


class ServiceSettings(Section):
    """`[service]`: where and how `rollguard serve` answers."""

    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65_535)
    root_path: str = ""
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    watch: bool = True
    max_body_bytes: int = Field(default=4_194_304, ge=1_024, le=67_108_864)
    max_decompressed_bytes: int = Field(default=8_388_608, ge=1_024, le=67_108_864)
    max_rows: int = Field(default=10_000, ge=1, le=100_000)
    requests_per_minute: int = Field(default=6_000, ge=1)
    rows_per_minute: int = Field(default=6_000_000, ge=1)
    body_timeout_seconds: float = Field(default=30.0, gt=0, le=3_600)
    shutdown_timeout_seconds: int = Field(default=30, ge=1, le=3_600)

    @field_validator("root_path")
    @classmethod
    def _is_a_prefix(cls, path: str) -> str:
        if path and (not path.startswith("/") or path.endswith("/")):
            raise InvalidSetting("", f'{given(path)} is no prefix; write it as "/rollguard"')
        return path

    @model_validator(mode="after")
    def _both_files_or_none(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise InvalidSetting("tls_key" if self.tls_cert else "tls_cert", "TLS needs both tls_cert and tls_key")
        return self


class OtlpSettings(Section):
    """`[otlp]`: how calls are found in the spans of OpenTelemetry, and whether Rollguard makes spans itself."""

    wait_seconds: float = Field(default=10.0, ge=0, le=600)
    max_waiting: int = Field(default=100_000, ge=0, le=10_000_000)
    tail_sampled: bool = False
    own_spans: bool = False


class ActuatorSettings(Section):
    """`[tools.NAME.actuator]`: what makes a version of the tool live."""

    kind: Literal["folder", "command", "webhook"] = "folder"
    command: tuple[str, ...] = Field(default=(), repr=False)
    url: str = Field(default="", repr=False)
    secret: SecretStr = SecretStr("")
    secret_env: str = ""
    timeout_seconds: float | None = Field(default=None, gt=0, le=3600)


class SharedActuatorSettings(ActuatorSettings):
    """`[actuators.NAME]`: what makes the versions of several tools live together, with one request."""

    tools: tuple[str, ...] = Field(min_length=1)


SETTINGS_OF_KIND = {"folder": set[str](), "command": {"command"}, "webhook": {"url", "secret", "secret_env"}}
"""Which settings of an actuator have a meaning, by its kind."""
