"""Files that harm who runs them, or who reads them without care. All of them lie in a folder of tools."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_FAILS = "\nraise RuntimeError('too late')\n"  # what would load is refused in the end: nothing of it gets into a test
_TOOL = "\ndef {name}(): ...\n"

RUN = {  # by syntax tree each holds a tool; running it is what harms
    "hangs": "import time\ntime.sleep(1000)",
    "spins": "while True: pass",
    "exits_well": "import os\nos._exit(0)",
    "exits": "import sys\nsys.exit(0)",
    "raises_base": "raise BaseException",
    "interrupts": "raise KeyboardInterrupt",
    "segfaults": "import ctypes\nctypes.string_at(0)",
    "aborts": "import os\nos.abort()",
    "kills_itself": "import os\nos.kill(os.getpid(), 9)",
    "kills_its_group": "import os\nos.killpg(0, 9)",
    "forks": "import os\nos.fork()" + _FAILS,
    "forks_often": "import os\nfor _ in range(4): os.fork()" + _FAILS,
    "leaves_a_child": "import os, time\nif os.fork() == 0: time.sleep(1000)\nos._exit(0)",
    "closes_descriptors": "import os\nos.closerange(0, 4096)",
    "closes_streams": "import sys\nsys.stdout.close()\nsys.stderr.close()\nsys.stdin.close()" + _FAILS,
    "patches_builtins": "import builtins\nbuiltins.open = builtins.isinstance = builtins.callable = None" + _FAILS,
    "patches_import": "import builtins\nbuiltins.__import__ = None" + _FAILS,
    "patches_os": "import os\nos.write = os._exit = os.read = os.kill = None" + _FAILS,
    "patches_sys": "import sys\nsys.modules.clear()\nsys.path.clear()" + _FAILS,
    "prints_for_ever": "while True: print('x' * 4096)",
    "writes_for_ever": "import os\nwhile True: os.write(2, b'x' * 4096)",
    "recurses": "def deeper(): deeper()\ndeeper()",
    "takes_all_memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n'x' * 2**31",
    "raises_a_mute": "class Mute(Exception):\n    def __str__(self): raise SystemExit(3)\nraise Mute",
    "starts_threads": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()" + _FAILS,
    "sets_alarms": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.001)\nsignal.pause()",
    "has_a_metaclass": "class M(type):\n    def __getattr__(self, name): raise SystemExit\nclass A(metaclass=M): ...",
    "answers_itself": (
        "import os\nfor d in range(3, 64):\n    try: os.write(d, b'\\xff\\n' * 9)\n    except OSError: pass" + _FAILS
    ),
}
READ = {  # reading them is what harms; none holds a tool
    "has_50_mb": b"X = '" + b"a" * 50_000_000 + b"'\n",
    "has_a_nul": b"def has_a_nul(): ...\n\0",
    "is_nested": b"has = " + b"(" * 5_000 + b")" * 5_000 + b"\n# is_nested",
    "is_a_sum": b"is_a_sum = " + b"1 + " * 5_000 + b"1\n",
    "has_many_branches": b"if 0: pass\n" + b"elif has_many_branches: pass\n" * 2_000,
    "is_no_syntax": b"def is_no_syntax(:\n",
    "has_no_encoding": b"# -*- coding: no-such-code -*-\ndef has_no_encoding(): ...\n",
    "is_no_utf8": b"def is_no_utf8(): '\xff\xfe'\n",
    "is_utf16": "def is_utf16(): ...\n".encode("utf-16"),
    "has_diamonds": b"class A0:\n    def execute(self): ...\n"
    + b"".join(b"class A%d(A%d, A%d): ...\n" % (n, n - 1, n - 1) for n in range(1, 60))
    + b"class A1(A59): ...\n",
    "inherits_itself": b"class A(B):\n    def execute(self): ...\nclass B(A): ...\n",
    "has_huge_numbers": b"def has_huge_numbers(x=" + b"9" * 100_000 + b"): ...\n",
}
PLACED = ("a_folder", "a_pipe", "a_socket", "a_link_to_nothing", "a_link_to_itself", "a_link_to_zeros", "unreadable")
MISNAMED = ("has space", "naïve", "1st", "a" * 150, "new\nline")
COUNT = len(RUN) + len(READ) + len(PLACED) + len(MISNAMED)


def put_all(folder: Path, ran: Path) -> None:
    """Write every file; each that is run says so in the file `ran` first."""
    says = f"with open({str(ran)!r}, 'a') as file: file.write(__file__ + chr(10))\n"
    for name, code in RUN.items():
        (folder / f"{name}.py").write_text(f"{says}{code}{_TOOL.format(name=name)}")
    for name, content in READ.items():
        (folder / f"{name}.py").write_bytes(content)
    for name in MISNAMED:
        (folder / f"{name}.py").write_text(f"{says}{_TOOL.format(name='misnamed')}")
    (folder / "a_folder.py").mkdir()
    os.mkfifo(folder / "a_pipe.py")
    here = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/a_socket.py")  # a path for sockets is short
    os.close(here)
    (folder / "a_link_to_nothing.py").symlink_to("nowhere.py")
    (folder / "a_link_to_itself.py").symlink_to("a_link_to_itself.py")
    (folder / "a_link_to_zeros.py").symlink_to("/dev/zero")
    (folder / "unreadable.py").write_text(says)
    (folder / "unreadable.py").chmod(0)
