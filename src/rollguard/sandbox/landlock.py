"""Landlock: from now on this process reads, lists and writes only what is named, and opens only the named TCP ports.

Called by the program in the sandbox, so it imports the standard library alone. The kernel's interface is three system
calls (`man 7 landlock`); their numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PATH, _PORT = 1, 2  # kinds of rules

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # to move between folders; to cut a file
_CONNECT_TCP = 1 << 1

READ = _READ_FILE | _READ_DIR
LIST = _READ_DIR
WRITE = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

PORTS_SINCE = 4  # the version of the interface that knows ports


def version() -> int:
    """Return the version of the kernel's interface.

    Raises:
        OSError: the kernel has no Landlock, or it is switched off.
    """
    return _call(_CREATE, None, 0, 1)


def restrict(paths: list[tuple[int, bool, int]], ports: list[int]) -> None:
    """Allow these paths and TCP ports, and nothing else that this kernel can refuse.

    Args:
        paths: a descriptor of each, whether it is a folder, and what is allowed: READ, LIST or WRITE.
        ports: the ports to which it may connect.

    Raises:
        OSError: the kernel refuses.
    """
    known = version()
    files = (1 << (13 if known < 2 else 14 if known < 3 else 15 if known < 5 else 16)) - 1
    network = 3 if known >= PORTS_SINCE else 0
    # Signals and abstract sockets reach nothing outside.
    attributes = [files, network, 3][: 3 if known >= 6 else 2 if known >= PORTS_SINCE else 1]
    rules = (ctypes.c_uint64 * len(attributes))(*attributes)
    ruleset = _call(_CREATE, rules, ctypes.sizeof(rules), 0)
    try:
        for descriptor, is_folder, allowed in paths:
            beneath = _PathBeneath(allowed & files & (-1 if is_folder else _OF_FILES), descriptor)
            _call(_ADD, ruleset, _PATH, ctypes.byref(beneath), 0)
        for port in ports if network else ():
            _call(_ADD, ruleset, _PORT, (ctypes.c_uint64 * 2)(_CONNECT_TCP, port), 0)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    done = int(
        _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    )
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return done
