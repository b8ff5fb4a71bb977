"""A tool that tries to break out: each function below is one try. It runs in the sandbox, and nowhere else.

A try that is refused raises. One that gets out returns what it got. One that returns None got nothing.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import stat
import subprocess
import threading
from typing import Any

ARM = os.uname().machine == "aarch64"
LIBC = ctypes.CDLL(None, use_errno=True)


class Given:
    """What the tries are told of the world outside."""

    folder: str  # one that everybody may write
    secret: str  # a file in it that everybody may read and write
    parent: int  # the process that asked
    other: int  # another process of the same user
    port: int  # of a TCP server on this machine
    unix: str  # the path of a Unix socket's server
    abstract: str  # the name of an abstract one
    marker: str  # a text in the environment of the process that asked


G = Given()


def escapes(attempt: str, given: dict[str, Any]) -> Any:
    """Make one try."""
    vars(G).update(given)
    return globals()[f"try_{attempt}"]()


def raw(x86: int, arm: int, *arguments: Any) -> int:
    """Make a system call without Python's and the C library's help."""
    number = arm if ARM else x86
    if number < 0:
        raise OSError(errno.ENOSYS, "this machine does not have it")
    done = LIBC.syscall(ctypes.c_long(number), *arguments)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(done)


def read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(100).decode("latin-1") or "empty"


def write(path: str, mode: str = "w") -> str:
    with open(path, mode) as file:
        file.write("x")
    return f"wrote {path}"


# --- files -----------------------------------------------------------------------------------------------------------


def try_write_outside():
    return write(f"{G.folder}/new")


def try_append_outside():
    return write(G.secret, "a")


def try_write_its_own_library():
    return write(json.__file__, "a")


def try_truncate_outside():
    os.truncate(G.secret, 0)
    return "cut"


def try_cut_a_library_by_reading_it():
    os.close(os.open(json.__file__, os.O_RDONLY | os.O_TRUNC))
    return "cut"


def try_remove_outside():
    os.unlink(G.secret)
    return "removed"


def try_rename_outside():
    os.rename(G.secret, f"{G.folder}/renamed")
    return "renamed"


def try_move_in():
    os.rename(G.secret, "moved")
    return read("moved")


def try_move_out():
    write("here")
    os.rename("here", f"{G.folder}/moved")
    return "moved"


def try_hard_link_in():
    os.link(G.secret, "linked")
    return read("linked")


def try_hard_link_of_a_library():
    os.link(json.__file__, "linked-library")
    return write("linked-library", "a")


def try_hard_link_out():
    write("to-link")
    os.link("to-link", f"{G.folder}/linked")
    return "linked"


def try_symbolic_link_in():
    os.symlink(G.secret, "pointing")
    return read("pointing")


def try_symbolic_link_to_a_folder():
    os.symlink(G.folder, "pointing-folder")
    return write("pointing-folder/new")


def try_symbolic_link_out():
    os.symlink("x", f"{G.folder}/pointing")
    return "linked"


def try_make_a_folder_outside():
    os.mkdir(f"{G.folder}/made")
    return "made"


def try_read_outside():
    return read(G.secret)


def try_list_outside():
    return os.listdir(G.folder)


def try_read_users():
    return read("/etc/passwd")


def try_read_passwords():
    return read("/etc/shadow")


def try_list_home():
    return os.listdir("/root") or os.listdir("/home")


def try_dots():
    return read("../" * 20 + G.secret.lstrip("/"))


def try_descriptor_of_a_path():
    descriptor = os.open(G.secret, os.O_PATH)
    return read(f"/proc/self/fd/{descriptor}")


def try_relative_to_a_folder():
    folder = os.open(G.folder, os.O_PATH)
    return os.read(os.open("secret", os.O_RDONLY, dir_fd=folder), 100).decode()


def try_change_folder():
    here = os.getcwd()
    try:
        os.chdir(G.folder)
        return read("secret")
    finally:
        os.chdir(here)


def try_descriptors_from_before():
    for descriptor in range(3, 300):
        with contextlib.suppress(OSError):
            found = os.fstat(descriptor)
            if stat.S_ISSOCK(found.st_mode) or stat.S_ISBLK(found.st_mode):
                return f"descriptor {descriptor}"
            if stat.S_ISREG(found.st_mode):
                return os.read(descriptor, 100).decode("latin-1") or None
    return None


def try_up_from_a_descriptor():
    for descriptor in range(3, 300):
        with contextlib.suppress(OSError):
            return os.read(os.open(f"{'../' * 20}etc/passwd", os.O_RDONLY, dir_fd=descriptor), 100).decode()
    return None


def try_mode_of_another_file():
    before = os.stat(G.secret).st_mode
    os.chmod(G.secret, 0o600)
    return None if os.stat(G.secret).st_mode == before else "changed"


def try_mode_by_descriptor():
    with open(json.__file__) as library:
        before = os.fstat(library.fileno()).st_mode
        os.fchmod(library.fileno(), 0o600)
        return None if os.fstat(library.fileno()).st_mode == before else "changed"


def try_time_of_another_file():
    before = os.stat(G.secret).st_mtime
    os.utime(G.secret, (0, 0))
    return None if os.stat(G.secret).st_mtime == before else "changed"


def try_owner_of_another_file():
    os.chown(G.secret, os.getuid(), -1)
    return "changed"


def try_extended_attribute():
    os.setxattr(G.secret, "user.x", b"x")
    return "changed"


def try_watch_files():
    return raw(254, 27, raw(294, 26, 0), G.folder.encode(), 0xFFF)


def try_handle_of_a_file():
    return raw(303, 264, -100, G.secret.encode(), ctypes.create_string_buffer(256), ctypes.create_string_buffer(8), 0)


def try_open_by_handle():
    return raw(304, 265, 3, ctypes.create_string_buffer(256), 0)


def try_open_in_a_new_way():
    how = (ctypes.c_uint64 * 3)(0, 0, 0)
    return os.read(raw(437, 437, -100, G.secret.encode(), ctypes.byref(how), 24), 100).decode()


# --- devices and what the kernel shows --------------------------------------------------------------------------------


def try_make_a_device():
    os.mknod("device", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    return read("device")


def try_make_a_fifo():
    os.mkfifo("fifo")
    return "made"


def try_memory_device():
    return read("/dev/mem")


def try_disks():
    for name in ("vda", "sda", "nvme0n1", "xvda"):
        with contextlib.suppress(OSError):
            return read(f"/dev/{name}")
    return None


def try_terminal():
    with open("/dev/tty", "w") as terminal:
        return terminal.fileno()


def try_type_into_a_terminal():
    import fcntl

    for descriptor in range(3):
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, 0x5412, b"x")
            return "typed"
    return None


def try_shared_memory_folder():
    return write("/dev/shm/rollguard-escape")


def try_shared_memory():
    return raw(29, 194, 0x5247, 4096, 0o1666)


def try_message_queue():
    return raw(68, 186, 0x5247, 0o1666)


def try_posix_message_queue():
    return raw(240, 180, b"escape", os.O_CREAT | os.O_RDWR, 0o666, None)


def try_memory_file():
    return os.memfd_create("escape")


def try_environment_of_the_parent():
    return read(f"/proc/{G.parent}/environ")


def try_environment_of_another():
    return read(f"/proc/{G.other}/environ")


def try_own_environment():
    with contextlib.suppress(OSError):
        if G.marker in read("/proc/self/environ"):
            return "read"
    values = [*os.environ.values(), *(value.decode() for value in os.environb.values())]
    return G.marker if G.marker in "".join(values) else None


def try_environment_in_own_memory():
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(LIBC, "environ")
    kept = []
    while environ and environ[len(kept)]:
        kept.append(environ[len(kept)])
    return "read" if G.marker.encode() in b"".join(kept) else None


def try_memory_of_the_parent():
    with open(f"/proc/{G.parent}/mem", "r+b", 0) as memory:
        return memory.fileno()


def try_maps_of_another():
    return read(f"/proc/{G.other}/maps")


def try_folder_of_another():
    return os.readlink(f"/proc/{G.other}/cwd")


def try_descriptors_of_another():
    return os.listdir(f"/proc/{G.other}/fd")


def try_command_lines():
    return read(f"/proc/{G.parent}/cmdline")


def try_list_processes():
    return os.listdir("/proc")


def try_root_of_the_first_process():
    return read("/proc/1/root/etc/passwd")


def try_root_of_its_own():
    return read("/proc/self/root/etc/passwd")


def try_settings_of_the_kernel():
    return write("/proc/sys/kernel/core_pattern")


def try_score_of_the_memory_killer():
    return write(f"/proc/{G.parent}/oom_score_adj")


def try_control_groups():
    return os.listdir("/sys/fs/cgroup")


def try_wake_the_kernel():
    return write("/proc/sysrq-trigger")


def try_log_of_the_kernel():
    return raw(103, 116, 3, ctypes.create_string_buffer(100), 100)


# --- sockets ---------------------------------------------------------------------------------------------------------


def _socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
    return socket.socket(family, kind, protocol)


def try_tcp():
    _socket(socket.AF_INET).connect(("127.0.0.1", G.port))
    return "connected"


def try_tcp_6():
    return _socket(socket.AF_INET6).fileno()


def try_tcp_by_another_name():
    return _socket(socket.AF_INET, socket.SOCK_STREAM, 262).fileno()  # MPTCP


def try_udp():
    return _socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53))


def try_listen():
    return socket.create_server(("127.0.0.1", 0)).getsockname()


def try_names():
    return socket.getaddrinfo("example.com", 443)


def try_unix_socket():
    _socket(socket.AF_UNIX).connect(G.unix)
    return "connected"


def try_abstract_socket():
    _socket(socket.AF_UNIX).connect(f"\0{G.abstract}")
    return "connected"


def try_pair_of_datagrams():
    one, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return one.sendto(b"x", f"{G.folder}/datagrams")


def try_pair_that_connects():
    one, _other = socket.socketpair()
    one.connect(G.unix)
    return "connected"


def try_pair_that_sends_elsewhere():
    one, other = socket.socketpair()
    one.sendmsg([b"x"], [], 0, G.unix)
    return None if other.recv(1) else "sent"


def try_netlink():
    return _socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno()


def try_packets():
    return _socket(socket.AF_PACKET, socket.SOCK_RAW).fileno()


def try_raw_ip():
    return _socket(socket.AF_INET, socket.SOCK_RAW, 1).fileno()


def try_virtual_machine():
    return _socket(40).fileno()  # AF_VSOCK


def try_crypto():
    return _socket(38, socket.SOCK_SEQPACKET).fileno()  # AF_ALG


def try_bluetooth():
    return _socket(31, socket.SOCK_RAW).fileno()


def try_express_data_path():
    return _socket(44, socket.SOCK_RAW).fileno()


def try_raw_socket_call():
    return raw(41, 198, 2, 1, 0)


# --- processes and signals -------------------------------------------------------------------------------------------


def _forked(pid: int) -> str:
    if pid == 0:
        os._exit(0)
    return f"forked {pid}"


def try_fork():
    return _forked(os.fork())


def try_fork_bomb():
    for _ in range(100):
        _forked(os.fork())
    return "forked"


def try_outlive():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pause()
        os._exit(0)
    return "forked"


def try_session():
    os.setsid()
    return "left its group"


def try_raw_fork():
    return _forked(raw(57, -1))


def try_raw_clone():
    return _forked(raw(56, 220, signal.SIGCHLD, 0, 0, 0, 0))


def try_clone_3():
    return _forked(raw(435, 435, (ctypes.c_uint64 * 8)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64))


def try_clone_into_new_namespaces():
    return _forked(raw(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0))


def try_program():
    return subprocess.run(["/bin/true"]).returncode


def try_shell():
    return None if os.system("true") else "ran"


def try_spawn():
    return os.posix_spawn("/bin/true", ["true"], {})


def try_program_in_its_place():
    os.execv("/bin/true", ["true"])


def try_program_by_descriptor():
    return raw(322, 281, os.open("/bin/true", os.O_PATH), b"", None, None, 0x1000)


def try_change_user_by_program():
    return subprocess.run(["/bin/su", "-c", "id"], stdin=subprocess.DEVNULL).returncode


def try_multiprocessing():
    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=print)
    process.start()
    return "started"


def try_signal_the_parent():
    os.kill(G.parent, 0)
    return "signalled"


def try_signal_another():
    os.kill(G.other, signal.SIGKILL)
    return "signalled"


def try_signal_everybody():
    os.kill(-1, signal.SIGKILL)
    return "signalled"


def try_signal_a_group():
    os.killpg(os.getpgid(G.parent), 0)
    return "signalled"


def try_signal_a_thread():
    return raw(234, 131, G.other, G.other, 0) or "signalled"


def try_signal_an_old_way():
    return raw(200, 130, G.other, 0) or "signalled"


def try_queue_a_signal():
    return raw(129, 138, G.other, 0, ctypes.create_string_buffer(128)) or "signalled"


def try_signal_by_descriptor():
    return raw(424, 424, raw(434, 434, G.other, 0), 0, None, 0) or "signalled"


def try_signal_by_a_file():
    import fcntl

    reader, _writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, G.other)
    return "owned"


def try_limits_of_another():
    return resource.prlimit(G.other, resource.RLIMIT_NOFILE, (1, 1))


def try_priority_of_another():
    os.setpriority(os.PRIO_PROCESS, G.other, 19)
    return "slowed"


def try_processors_of_another():
    os.sched_setaffinity(G.other, {0})
    return "moved"


def try_trace_another():
    return raw(101, 117, 16, G.other, 0, 0) or "traced"


def try_be_traced():
    return raw(101, 117, 0, 0, 0, 0) or "traced"


def try_read_memory_of_another():
    return raw(310, 270, G.parent, None, 0, None, 0, 0) or "read"


def try_write_memory_of_another():
    return raw(311, 271, G.parent, None, 0, None, 0, 0) or "written"


def try_take_a_descriptor():
    return raw(438, 438, raw(434, 434, G.parent, 0), 0, 0)


def try_compare_with_another():
    return str(raw(312, 272, G.parent, os.getpid(), 2, 0, 0))


# --- the kernel ------------------------------------------------------------------------------------------------------


def try_mount():
    return raw(165, 40, b"none", os.getcwd().encode(), b"tmpfs", 0, None) or "mounted"


def try_unmount():
    return raw(166, 39, b"/proc", 2) or "unmounted"


def try_open_a_file_system():
    return raw(430, 430, b"tmpfs", 0)


def try_open_a_tree():
    return raw(428, 428, -100, b"/", 1)


def try_new_user_namespace():
    return raw(272, 97, 0x10000000) or "left"


def try_new_mount_namespace():
    return raw(272, 97, 0x00020000) or "left"


def try_new_network_namespace():
    return raw(272, 97, 0x40000000) or "left"


def try_join_a_namespace():
    return raw(308, 268, os.open(f"/proc/{G.parent}/ns/mnt", os.O_RDONLY), 0) or "joined"


def try_change_root():
    os.chroot("/")
    return "changed"


def try_pivot_root():
    return raw(155, 41, b".", b".") or "changed"


def try_kernel_programs():
    return raw(321, 280, 0, ctypes.create_string_buffer(128), 128)


def try_performance_counters():
    return raw(298, 241, ctypes.create_string_buffer(112), 0, -1, -1, 0)


def try_rings():
    return raw(425, 425, 8, ctypes.create_string_buffer(120))


def try_asynchronous_files():
    return raw(206, 0, 8, ctypes.byref(ctypes.c_ulong(0))) or "set up"


def try_keys():
    return raw(250, 219, 0, -3, 1)


def try_add_a_key():
    return raw(248, 217, b"user", b"escape", b"x", 1, -3)


def try_page_faults():
    return raw(323, 282, 1)


def try_become_root():
    os.setuid(0)
    return "root" if os.getuid() == 0 and not os.getppid() else "set"


def try_change_user():
    os.setresuid(1, 1, 1)
    return "changed"


def try_change_groups():
    os.setgroups([0])
    return "changed"


def try_capabilities():
    held = (ctypes.c_uint32 * 6)()
    LIBC.capget(ctypes.byref((ctypes.c_uint32 * 2)(0x20080522, 0)), ctypes.byref(held))
    return list(held) if any(held) else None


def try_take_capabilities():
    wanted = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return LIBC.capset(ctypes.byref((ctypes.c_uint32 * 2)(0x20080522, 0)), ctypes.byref(wanted)) == 0 or None


def try_be_readable():
    return "set" if LIBC.prctl(4, ctypes.c_ulong(1), 0, 0, 0) == 0 else None


def try_another_filter():
    return raw(317, 277, 1, 8, ctypes.create_string_buffer(16))


def try_personality():
    return str(raw(135, 92, 0x0040000))


def try_host_name():
    return raw(170, 161, b"x", 1) or "set"


def try_clock():
    return raw(227, 112, 0, (ctypes.c_long * 2)(0, 0)) or "set"


def try_restart():
    return raw(169, 142, 0, 0, 0, 0) or "restarted"


def try_load_a_module():
    return raw(175, 105, b"x", 1, b"") or "loaded"


def try_load_a_kernel():
    return raw(246, 104, 0, 0, None, 0) or "loaded"


def try_swap():
    return raw(167, 224, b"/tmp/x", 0) or "set"


def try_system_calls_of_another_kind():
    if ARM:
        raise OSError("this machine has none")
    return LIBC.syscall(ctypes.c_long(0x40000000 + 39)) if LIBC.syscall(ctypes.c_long(0x40000000 + 39)) > 0 else None


def try_system_calls_of_32_bits():
    if ARM:
        raise OSError("this machine has none")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret: getpid
    got = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    return got if got > 0 else None


# --- limits ----------------------------------------------------------------------------------------------------------


def try_higher_limits():
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 19, 1 << 19))
    return "raised"


def try_much_memory():
    return len(bytearray(8 << 30))


def try_much_mapped_memory():
    return len(mmap.mmap(-1, 8 << 30))


def try_large_file():
    with open("large", "wb") as file:
        file.truncate(1 << 40)
    return "written"


def try_many_descriptors():
    kept = []
    try:
        for _ in range(5_000):
            kept.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for descriptor in kept:
            os.close(descriptor)
    return len(kept)


def try_many_threads():
    threading.stack_size(64 * 1024)
    over, started = threading.Event(), 0
    try:
        for _ in range(5_000):
            _thread.start_new_thread(over.wait, ())  # Thread.start would wait for ever for one that has no memory
            started += 1
    finally:
        over.set()
    return started


# --- the process that asks -------------------------------------------------------------------------------------------


class _Reduced:
    """Would write a file where it is unpickled."""

    def __reduce__(self):
        return (os.system, (f"touch {G.folder}/unpickled",))


def try_pickled_result():
    return None if json.dumps(str(_Reduced())) else _Reduced()


def try_descriptors_as_a_gift():
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError, ValueError):
            socket.socket(fileno=os.dup(descriptor)).sendmsg([b"x"], [(socket.SOL_SOCKET, 1, b"\0\0\0\0")])
            return "sent"
    return None
