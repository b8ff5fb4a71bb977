"""A seccomp filter: the system calls that this process may make from now on, and no others.

Called by the program in the sandbox, so it imports the standard library alone. The list names what is allowed, so a
system call of a newer kernel is refused. Numbers are those of x86-64 and of 64-bit ARM; `-` is one that it lacks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_ALLOWED = """
read 0 63  write 1 64  readv 19 65  writev 20 66  pread64 17 67  pwrite64 18 68  preadv 295 69  pwritev 296 70
preadv2 327 286  pwritev2 328 287  lseek 8 62  close 3 57  close_range 436 436  dup 32 23  dup2 33 -  dup3 292 24
pipe 22 -  pipe2 293 59  fstat 5 80  stat 4 -  lstat 6 -  newfstatat 262 79  statx 332 291  access 21 -
faccessat 269 48  faccessat2 439 439  readlink 89 -  readlinkat 267 78  getdents 78 -  getdents64 217 61  getcwd 79 17
chdir 80 49  fchdir 81 50  rename 82 -  renameat 264 38  renameat2 316 276  mkdir 83 -  mkdirat 258 34  rmdir 84 -
unlink 87 -  unlinkat 263 35  link 86 -  linkat 265 37  symlink 88 -  symlinkat 266 36  ftruncate 77 46
fallocate 285 47  fsync 74 82  fdatasync 75 83  flock 73 32  fadvise64 221 223  statfs 137 43  fstatfs 138 44
umask 95 166  sendfile 40 71  mmap 9 222  mprotect 10 226  munmap 11 215  mremap 25 216  madvise 28 233  msync 26 227
mincore 27 232  brk 12 214  futex 202 98  set_robust_list 273 99  get_robust_list 274 100  rseq 334 293
set_tid_address 218 96  membarrier 324 283  gettid 186 178  getpid 39 172  getppid 110 173  getuid 102 174
geteuid 107 175  getgid 104 176  getegid 108 177  getresuid 118 148  getresgid 120 150  getgroups 115 158
getpgrp 111 -  getpgid 121 155  getsid 124 156  capget 125 90  rt_sigaction 13 134  rt_sigprocmask 14 135
rt_sigreturn 15 139  rt_sigpending 127 136  rt_sigsuspend 130 133  rt_sigtimedwait 128 137  sigaltstack 131 132
restart_syscall 219 128  exit 60 93  exit_group 231 94  wait4 61 260  waitid 247 95  clock_gettime 228 113
clock_getres 229 114  clock_nanosleep 230 115  nanosleep 35 101  gettimeofday 96 169  time 201 -  timer_create 222 107
timer_settime 223 110  timer_gettime 224 108  timer_getoverrun 225 109  timer_delete 226 111  timerfd_create 283 85
timerfd_settime 286 86  timerfd_gettime 287 87  setitimer 38 103  getitimer 36 102  alarm 37 -  pause 34 -  poll 7 -
ppoll 271 73  select 23 -  pselect6 270 72  epoll_create 213 -  epoll_create1 291 20  epoll_ctl 233 21
epoll_wait 232 -  epoll_pwait 281 22  eventfd 284 -  eventfd2 290 19  sched_yield 24 124  sched_getaffinity 204 123
sched_getparam 143 121  sched_getscheduler 145 120  sched_get_priority_max 146 125  sched_get_priority_min 147 126
getpriority 140 141  getrlimit 97 163  setrlimit 160 164  getrusage 98 165  times 100 153  uname 63 160
sysinfo 99 179  getrandom 318 278  getcpu 309 168  arch_prctl 158 -  recvfrom 45 207  recvmsg 47 212  shutdown 48 210
getsockopt 55 209  setsockopt 54 208  getsockname 51 204  getpeername 52 205
"""

# Landlock does not cover modes and times, and as an ordinary user the tool owns files outside. These do nothing and say
# that they did it, because `shutil.copy` and archives use them on the files that they have just written.
_PRETENDED = """
chmod 90 -  fchmod 91 52  fchmodat 268 53  fchmodat2 452 452  utime 132 -  utimes 235 -  utimensat 280 88
futimesat 261 -
"""

# Refused with "not permitted", which a library reports; what is in no list is refused as "not implemented", on which
# the C library takes an older system call.
_REFUSED = """
socket 41 198  connect 42 203  bind 49 200  listen 50 201  accept 43 202  accept4 288 242  fork 57 -  vfork 58 -
execve 59 221  execveat 322 281  ptrace 101 117  process_vm_readv 310 270  process_vm_writev 311 271  mount 165 40
umount2 166 39  unshare 272 97  setns 308 268  chroot 161 51  pivot_root 155 41  bpf 321 280  keyctl 250 219
add_key 248 217  request_key 249 218  userfaultfd 323 282  io_uring_setup 425 425  io_uring_enter 426 426
io_uring_register 427 427  perf_event_open 298 241  pidfd_open 434 434  pidfd_getfd 438 438
pidfd_send_signal 424 424  rt_sigqueueinfo 129 138  rt_tgsigqueueinfo 297 240  tkill 200 130  setuid 105 146
setgid 106 144  setresuid 117 147  setresgid 119 149  setreuid 113 145  setregid 114 143  setgroups 116 159
capset 126 91  chown 92 -  fchown 93 55  lchown 94 -  fchownat 260 54  setxattr 188 5  lsetxattr 189 6
fsetxattr 190 7  removexattr 197 14  mknod 133 -  mknodat 259 33  truncate 76 45  name_to_handle_at 303 264
open_by_handle_at 304 265  memfd_create 319 279  shmget 29 194  shmat 30 196  msgget 68 186  semget 64 190
mq_open 240 180  setsid 112 157  setpgid 109 154  setpriority 141 140  seccomp 317 277  inotify_init1 294 26
inotify_add_watch 254 27  personality 135 92  reboot 169 142  kexec_load 246 104  init_module 175 105
finit_module 313 273
"""

_READ_ONLY, _TRUNCATED = 0o3, 0o1000
_THREAD = 0x00010900  # clone's CLONE_VM, CLONE_SIGHAND and CLONE_THREAD
_NEW_NAMESPACES = 0x7E020000
_FAST_OPEN = 0x20000000  # of sendto: a connection for which nobody asks Landlock

_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in what the filter sees
_X32 = 0x40000000  # system calls of another ABI of x86-64, with other numbers

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

Check = tuple[int, int, tuple[int, ...]]
"""Of an argument: its position, the bits that count, and their allowed values."""


def filter_calls(*, sockets: bool) -> None:
    """Install the filter. The process has no other thread, and `no_new_privs` is set.

    Args:
        sockets: whether TCP connections may be opened.

    Raises:
        OSError: the kernel refuses, or the machine is none of those that the list is for.
    """
    machine = os.uname().machine
    if machine not in _MACHINES or sys.maxsize < 1 << 32:
        raise OSError(errno.ENOSYS, f"there is no filter for {machine}")
    program = _program(*_MACHINES[machine], sockets=sockets)
    code = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(described), zero, zero) != 0:  # PR_SET_SECCOMP, a filter
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def _program(column: int, architecture: int, *, sockets: bool) -> bytes:
    """Return the filter's program: a comparison and a verdict for each system call."""
    checked = _checked(os.getpid(), sockets=sockets)
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _KILL),
    ]
    for numbers, refusal, checks in checked:
        if numbers[column] >= 0:
            block = [step for check in checks for step in _check(check, refusal)]
            code += [_step(_EQUAL, numbers[column], 0, len(block) + 1), *block, _step(_RETURN, _ALLOW)]
    for text, verdict in ((_ALLOWED, _ALLOW), (_PRETENDED, _ERRNO), (_REFUSED, _ERRNO | errno.EPERM)):
        words = text.split()
        for number in words[column + 1 :: 3]:
            if number != "-":
                code += [_step(_EQUAL, int(number), 0, 1), _step(_RETURN, verdict)]
    return b"".join([*code, _step(_RETURN, _ERRNO | errno.ENOSYS)])


def _checked(own: int, *, sockets: bool) -> list[tuple[tuple[int, int], int, list[Check]]]:
    """Return the system calls that are allowed with some arguments only: numbers, error, checks."""
    opening = (0, 1, 2, _TRUNCATED | 1, _TRUNCATED | 2)  # reading may not cut, which early versions of Landlock miss
    opened = _READ_ONLY | _TRUNCATED
    calls: list[tuple[tuple[int, int], int, list[Check]]] = [
        ((2, -1), errno.EPERM, [(1, opened, opening)]),  # open
        ((257, 56), errno.EPERM, [(2, opened, opening)]),  # openat
        ((62, 129), errno.EPERM, [(0, 0xFFFFFFFF, (own,))]),  # kill
        ((234, 131), errno.EPERM, [(0, 0xFFFFFFFF, (own,))]),  # tgkill
        ((302, 261), errno.EPERM, [(0, 0xFFFFFFFF, (0, own))]),  # prlimit64
        ((203, 122), errno.EPERM, [(0, 0xFFFFFFFF, (0,))]),  # sched_setaffinity
        # fcntl: not F_SETOWN, F_SETSIG and F_SETOWN_EX, by which another process gets signals
        ((72, 25), errno.EPERM, [(1, 0xFFFFFFFF, (0, 1, 2, 3, 4, 5, 6, 7, 9, 36, 37, 38, 1030, 1032))]),
        ((16, 29), errno.ENOTTY, [(1, 0xFFFFFFFF, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451))]),  # ioctl
        # prctl: names of threads and memory, and asking
        ((157, 167), errno.EPERM, [(0, 0xFFFFFFFF, (3, 15, 16, 21, 23, 39, 0x53564D41))]),
        ((53, 199), errno.EPERM, [(0, 0xFFFFFFFF, (1,)), (1, 0xF, (1,))]),  # socketpair, for event loops: connected
        ((56, 220), errno.EPERM, [(0, _THREAD | _NEW_NAMESPACES, (_THREAD,))]),  # clone
        ((44, 206), errno.EPERM, [(3, _FAST_OPEN, (0,))]),  # sendto
        ((46, 211), errno.EPERM, [(2, _FAST_OPEN, (0,))]),  # sendmsg
    ]
    if sockets:
        internet = [(0, 0xFFFFFFFF, (2, 10)), (1, 0xF, (1,)), (2, 0xFFFFFFFF, (0, 6))]
        calls += [((41, 198), errno.EPERM, internet), ((42, 203), errno.EPERM, [])]  # socket, connect
    return calls


def _check(check: Check, refusal: int) -> list[bytes]:
    position, mask, values = check
    return [
        _step(_LOAD, _ARGUMENTS + 8 * position),  # the low half: both architectures store it first
        _step(_AND, mask),
        *(_step(_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)),
        _step(_RETURN, _ERRNO | refusal),
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
