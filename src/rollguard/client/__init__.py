"""The client of a service: records calls at the price of a local recorder, and serves what is live there."""

from rollguard.client.answers import Deployed, LiveRollout, LiveVersion
from rollguard.client.client import Client

__all__ = ["Client", "Deployed", "LiveRollout", "LiveVersion"]
