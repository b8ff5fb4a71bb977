"""Build what the settings name: actuators, notifiers, and the function that replaces secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollguard.errors import InvalidInput, InvalidSetting
from rollguard.model.given import checked_all
from rollguard.model.import_path import called, imported
from rollguard.settings import Settings
from rollguard.settings.sections import ImproverSettings
from rollguard.store import ExecutionStore, Redact

if TYPE_CHECKING:
    from rollguard.improve import CheckRules, Improver
    from rollguard.notify import Notifier
    from rollguard.registry.deploy.actuators import Actuator
    from rollguard.settings.sections import ActuatorSettings


def actuators_of(settings: Settings) -> dict[str, Actuator]:
    """Return the actuators of the tools that have one."""
    if not settings.actuators:
        return {}
    from rollguard.registry.deploy.actuators import SharedActuator

    actuators: dict[str, Actuator] = {}
    for name, given in settings.actuators.items():
        if given.kind != "folder":
            actuators[name] = _actuator(given)
    for name, shared in settings.shared_actuators.items():
        actuators |= dict.fromkeys(shared.tools, SharedActuator(name, _actuator(shared), shared.tools))
    return actuators


def _actuator(given: ActuatorSettings) -> Actuator:
    from rollguard.registry.deploy.actuators import CommandActuator, WebhookActuator

    if given.kind == "command":
        return CommandActuator(given.command, timeout=given.timeout_seconds or 60.0)
    return WebhookActuator(given.url, given.secret.get_secret_value(), timeout=given.timeout_seconds or 10.0)


def notifiers_of(settings: Settings) -> list[Notifier]:
    """Return what notifies people."""
    from rollguard.notify import AppriseNotifier, CloudEventsNotifier, LogNotifier, WebhookNotifier

    notify = settings.notify
    notifiers: list[Notifier] = [LogNotifier()] if notify.log else []
    timeout, secret, base = notify.webhook_timeout_seconds, notify.webhook_secret.get_secret_value(), notify.base_url
    notifiers += [WebhookNotifier(url, timeout=timeout, secret=secret) for url in notify.webhook_urls]
    try:
        notifiers += [
            CloudEventsNotifier(url, timeout=timeout, secret=secret, base_url=base) for url in notify.cloudevents_urls
        ]
        notifiers += [
            AppriseNotifier(url, base_url=base, group_seconds=notify.group_seconds) for url in notify.apprise_urls
        ]
    except InvalidInput as error:
        raise InvalidSetting("notify", str(error)) from error
    for path in settings.notify.notifiers:
        made = imported("notify.notifiers", path, settings.folder)
        if isinstance(made, type) or not hasattr(made, "notify"):
            made = called("notify.notifiers", path, made)
        notifiers += checked_all("notify.notifiers", [made], "name", "notify")
    return notifiers


def redact_of(settings: Settings) -> Redact | None:
    """Return the function that replaces secrets; None if the settings name none."""
    path = settings.record.redact.function
    if not path:
        return None
    function = imported("record.redact", path, settings.folder)
    if not callable(function):
        raise InvalidSetting("record.redact", f"{path} is {type(function).__name__}, not a function")
    redact: Redact = function
    return redact


def improvers_of(settings: Settings, store: ExecutionStore) -> list[Improver]:
    """Return what writes repairs, in the order of the settings."""
    return [_improver(settings, given, store) for given in settings.improve.improvers]


def _improver(settings: Settings, given: ImproverSettings, store: ExecutionStore) -> Improver:
    from rollguard import improve

    name, timeout = given.called, given.timeout_seconds
    values = {key: settings.improver_variables[key] for key in given.variables if key in settings.improver_variables}
    match given.kind:
        case "command":
            return improve.CommandImprover(
                given.command,
                name=name,
                timeout=timeout,
                environment=values,
                project=settings.folder,
                check=lambda tool_name: check_rules_of(settings, tool_name),
                redaction=store.redaction,
            )
        case "callable":
            function = imported("improve.improvers", given.function, settings.folder)
            if isinstance(function, type):
                function = called("improve.improvers", given.function, function)
            function = getattr(function, "propose", function)
            if not callable(function):
                kind = type(function).__name__
                raise InvalidSetting("improve.improvers", f"{given.function} is {kind}, not a function")
            return improve.CallableImprover(function, name=name, timeout=timeout)
        case "model":
            return improve.ModelImprover(
                given.model,
                name=name,
                base_url=given.base_url,
                key=values.get(given.key_env, ""),
                attempts=given.attempts,
                max_tokens=given.max_tokens,
                timeout=timeout,
            )
        case "earlier_version":
            return improve.EarlierVersion(store, name=name)
        case "retry":
            return improve.RetryTransient(name=name)


def check_rules_of(settings: Settings, tool_name: str) -> CheckRules:
    """Return what the check in a work folder goes by: what a rehearsal does, but no variable or host is granted."""
    from rollguard.improve import CheckRules
    from rollguard.rehearse import RehearsalRules

    return CheckRules(
        settings.rehearsals.get(tool_name, RehearsalRules()).model_copy(update={"grants": ()}),
        settings.failure_rules.get(tool_name),
        settings.sandbox.isolation,
        settings.sandbox.libraries,
    )
