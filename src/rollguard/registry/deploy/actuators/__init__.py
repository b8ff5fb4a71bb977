"""Actuators, which make versions of remote tools live: a command, or a signed webhook."""

from rollguard.http_client import signature_of
from rollguard.registry.deploy.actuators.actuator import Actuator, Request, carry_out
from rollguard.registry.deploy.actuators.command import CommandActuator
from rollguard.registry.deploy.actuators.shared import SharedActuator
from rollguard.registry.deploy.actuators.webhook import WebhookActuator

__all__ = ["Actuator", "CommandActuator", "Request", "SharedActuator", "WebhookActuator", "carry_out", "signature_of"]
