"""Putting a version in its place where tools do not live in the folder: a command, or a signed webhook."""

from rollguard.actuators.command import CommandActuator
from rollguard.actuators.order import Actuator, Order, carry_out
from rollguard.actuators.webhook import WebhookActuator, signature_of

__all__ = ["Actuator", "CommandActuator", "Order", "WebhookActuator", "carry_out", "signature_of"]
