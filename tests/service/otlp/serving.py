"""The service on a socket, for clients that need one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from rollguard import Rollguard
from rollguard.service.app import create_app


@contextmanager
def served(guard: Rollguard) -> Iterator[str]:
    """Serve the guard while the block runs; yields the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(guard, open_to_this_machine=True, watch=False), log_config=None))
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listening]),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
