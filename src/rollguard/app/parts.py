"""Build what the settings name: actuators, notifiers, and the function that replaces secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollguard.errors import InvalidSetting
from rollguard.model.given import checked_all
from rollguard.model.import_path import called, imported
from rollguard.settings import Settings
from rollguard.store import Redact

if TYPE_CHECKING:
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
    from rollguard.notify import LogNotifier, WebhookNotifier

    notifiers: list[Notifier] = [LogNotifier()] if settings.notify.log else []
    timeout = settings.notify.webhook_timeout_seconds
    notifiers += [WebhookNotifier(url, timeout=timeout) for url in settings.notify.webhook_urls]
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
