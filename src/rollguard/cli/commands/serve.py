"""`rollguard serve`."""

from __future__ import annotations

import signal
from typing import Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.log_lines import log_lines
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import InvalidSetting


def serve(
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="Where to listen; else as the settings say.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65_535,
            metavar="PORT",
            help="The port; else as the settings say. 0 takes a free one.",
            show_default=False,
        ),
    ] = None,
    no_watch: Annotated[bool, typer.Option("--no-watch", help="Do not check deployments in this process.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Serve agents on other machines and in other languages: record their calls, and monitor and roll back for them.

    It watches like `rollguard watch`, in the same process. SIGTERM and Ctrl-C stop it after the requests and checks
    under way, with exit code 0. The log goes to stderr.
    """
    before = signal.signal(signal.SIGTERM, _stop)  # until the server handles it
    try:
        with opened(config, must_answer=False, logs=log_lines()) as guard:
            serve_ = _server()
            with output.tools_print_to_stderr():
                serve_(guard, host=host, port=port, watch=False if no_watch else None)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        output.emit_json({"stopped": True})


def _server() -> Any:
    try:
        from rollguard.service.serve import serve
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            "service", f'{error.name} is missing; install it: pip install "rollguard[service]"'
        ) from error
    return serve


def _stop(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
