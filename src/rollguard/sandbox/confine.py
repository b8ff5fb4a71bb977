"""Confine this process, layer by layer, before it runs code that nobody has read. There is no way back.

Called by the program in the sandbox, while it has one thread. It imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

if TYPE_CHECKING or __name__ != "confine":
    from rollguard.sandbox import landlock, seccomp
else:  # beside the program, as in `child`
    import landlock
    import seccomp

_DIE_WITH_PARENT, _DUMPABLE, _DROP_BOUNDING, _NO_NEW_PRIVILEGES, _AMBIENT = 1, 4, 24, 38, 47  # options of prctl
_SIGKILL = 9
_CAPABILITIES_VERSION = 0x20080522
_DESCRIPTORS = 256
_OWN_TASKS, _SHARED_TASKS = 64, 4096  # threads of a user of its own; of one who has other processes
_NOBODY = 65534
_ALLOWED = {"read": landlock.READ, "list": landlock.LIST, "write": landlock.WRITE}


def confine(request: dict[str, Any]) -> dict[str, str]:
    """Apply every layer that this machine has, and return why each of the others is missing, by its name.

    Args:
        request: `paths` (each with what is allowed: "read", "list" or "write"), `folder` (the one it works in), `user`
            (whose number it takes if it is root), `ports` (to which it may connect), `memory_bytes`, `file_bytes` and
            `processor_seconds`.
    """
    missing: dict[str, str] = {}

    def layer(name: str, apply: Callable[[], None]) -> None:
        try:
            apply()
        except OSError as error:
            missing[name] = error.strerror or str(error)

    os.umask(0o077)
    os.chdir(request["folder"])
    is_root = os.geteuid() == 0
    layer("limits", lambda: _limit(request, _OWN_TASKS if is_root else _SHARED_TASKS))
    if sys.platform != "linux":
        return missing | dict.fromkeys(("user", "privileges", "files", "network", "system calls"), "it needs Linux")
    opened = _opened(request["paths"])
    ports = request["ports"]
    layer("user", lambda: _leave_root(request["user"], request["folder"]) if is_root else _drop_capabilities())
    layer("privileges", lambda: _prctl(_NO_NEW_PRIVILEGES, 1))
    layer("files", lambda: landlock.restrict([one for one, _path in opened], ports))
    layer("network", lambda: _refuse_without_ports(ports))
    layer("user", lambda: _reach(opened))
    layer("system calls", lambda: seccomp.filter_calls(sockets=bool(ports)))
    if "system calls" in missing:
        missing.setdefault("network", "sockets are refused by the filter of system calls")
    return missing


def _opened(paths: list[tuple[str, str]]) -> list[tuple[tuple[int, bool, int], str]]:
    """Open the paths that exist: a user other than root may not find them any more."""
    opened = []
    for path, allowed in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        opened.append(((descriptor, stat.S_ISDIR(os.fstat(descriptor).st_mode), _ALLOWED[allowed]), path))
    return opened


# --- limits ----------------------------------------------------------------------------------------------------------


def _limit(request: dict[str, Any], tasks: int) -> None:
    mapped = 0
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as sizes:  # noqa: PTH123 - `pathlib` takes time to import
            mapped = int(sizes.read().split()[0]) * resource.getpagesize()
    wanted = {
        resource.RLIMIT_AS: mapped + request["memory_bytes"],
        resource.RLIMIT_CPU: request["processor_seconds"],
        resource.RLIMIT_FSIZE: request["file_bytes"],
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_NPROC: tasks,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (lower, lower))
        except ValueError as error:
            raise OSError(errno.EPERM, str(error)) from error


# --- the user --------------------------------------------------------------------------------------------------------


def _leave_root(user: int, folder: str) -> None:
    """Become a user who owns the folder and nothing else, without capabilities."""
    capability = 0
    while capability < 64 and _libc.prctl(_DROP_BOUNDING, ctypes.c_ulong(capability), 0, 0, 0) == 0:
        capability += 1
    if not capability:
        raise OSError(errno.EPERM, "root may not give up its capabilities here")
    number = _owner_of(user, folder)
    os.setgroups([])
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)
    _drop_capabilities()


def _owner_of(user: int, folder: str) -> int:
    """Give the folder to the user and return its number; nobody's where a container does not have that number."""
    try:
        os.chown(folder, user, user)
    except OSError:
        os.chown(folder, _NOBODY, _NOBODY)
        return _NOBODY
    return user


def _drop_capabilities() -> None:
    """Give up every capability, and let no process of the same user look into this one."""
    _libc.prctl(_AMBIENT, 4, 0, 0, 0)  # an old kernel without them refuses
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)()
    if _libc.capset(ctypes.byref(header), ctypes.byref(none)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _prctl(_DUMPABLE, 0)
    _prctl(_DIE_WITH_PARENT, _SIGKILL)


def _reach(opened: list[tuple[tuple[int, bool, int], str]]) -> None:
    """Close what was opened, but for libraries below a folder that only root may enter: import them by descriptor."""
    instead: dict[str, str] = {}
    for (descriptor, _is_folder, _allowed), path in opened:
        if path in sys.path and not os.access(path, os.R_OK | os.X_OK):
            instead[path] = f"/proc/self/fd/{descriptor}"
        else:
            os.close(descriptor)
    sys.path[:] = [instead.get(path, path) for path in sys.path]
    sys.path_importer_cache.clear()
    for name, module in list(sys.modules.items()):
        folders = getattr(module, "__path__", None)
        if isinstance(folders, list):  # a package that is imported already, by a path that may be closed now
            folders[:] = [there for there in _folders(name) if os.path.isdir(there)] or folders  # noqa: PTH112
    lost = [path for path, there in instead.items() if not os.access(there, os.R_OK | os.X_OK)]
    if lost:
        raise OSError(errno.EACCES, f"a user other than root may not read {lost[0]}; install Python where all may")


def _folders(package: str) -> list[str]:
    return [f"{entry}/{package.replace('.', '/')}" for entry in sys.path]


# --- privileges and ports --------------------------------------------------------------------------------------------


def _refuse_without_ports(ports: list[int]) -> None:
    if ports and landlock.version() < landlock.PORTS_SINCE:
        raise OSError(errno.ENOSYS, "this kernel does not bound the ports that are connected to; Linux 6.7 does")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


_libc = ctypes.CDLL(None, use_errno=True)
