"""The hosts that a tool in the sandbox may reach: resolved outside, because it can ask nobody for an address."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from rollguard.errors import InvalidInput, SandboxUnavailable

_PORT = 443
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The addresses of each host, and the ports.

    Attributes:
        addresses: of each name, the family and the text of each of its addresses.
        ports: the ports of all hosts.
    """

    addresses: dict[str, list[tuple[int, str]]]
    ports: list[int]

    @classmethod
    def resolved(cls, hosts: Sequence[str]) -> Hosts:
        """Look up the addresses of hosts, each written `name` (then its port is 443) or `name:port`.

        Raises:
            InvalidInput: one is not a host.
            SandboxUnavailable: one has no address at this moment.
        """
        addresses: dict[str, list[tuple[int, str]]] = {}
        ports: set[int] = set()
        for host in hosts:
            match = _HOST.fullmatch(host)
            port = int(match["port"] or _PORT) if match else 0
            if match is None or not 0 < port < 65_536:
                raise InvalidInput(f"hosts: {host!r} is not a host; write name or name:port")
            name = match["name"].strip("[]").lower()
            ports.add(port)
            try:
                found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise SandboxUnavailable(
                    f"the host {name}, which the tool may reach, has no address ({error}); correct it, or try again"
                ) from error
            addresses[name] = [(int(family), str(address[0])) for family, _type, _proto, _name, address in found]
        return cls(addresses, sorted(ports))
