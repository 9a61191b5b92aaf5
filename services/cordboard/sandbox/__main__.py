"""Serves the sandbox vendor from the command line, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cordboard.sandbox.server import serving
from cordboard.sandbox.settings import Settings

_PREFIX = "CORDBOARD_SANDBOX_"


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    host: str
    port: int
    public_url: str | None
    ready_file: Path | None
    settings: Settings


def read_options(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Returns the options; ends the program on a wrong one, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m cordboard.sandbox",
        description='Serves "Acme Desk", a stand-in SaaS vendor with OpenAPI, OAuth and switches for faults.',
        epilog=f"Secrets are better given as {_PREFIX}API_KEY, {_PREFIX}CLIENT_SECRET and {_PREFIX}BASIC_PASSWORD than "
        "as options, which other users of the machine can see. Those that are not given are made up; "
        "GET /_sandbox/credentials tells them.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=0, help="port to listen on; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--public-url", metavar="URL", help="how clients reach it, when not at that address")
    parser.add_argument(
        "--ready-file", type=Path, metavar="PATH", help="written when it answers: JSON with url and port"
    )
    parser.add_argument(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URI",
        help="redirect URI of the preregistered client cordboard-demo; may be given several times",
    )
    parser.add_argument("--access-token-seconds", type=_positive, default=Settings.access_token_seconds, metavar="N")
    parser.add_argument(
        "--rate-limit",
        type=_positive,
        default=Settings.rate_limit,
        metavar="N",
        help="requests a caller may make in a window",
    )
    parser.add_argument("--rate-window-seconds", type=_positive, default=Settings.rate_window_seconds, metavar="N")
    for name in ("api_key", "client_secret", "basic_password"):
        parser.add_argument(
            f"--{name.replace('_', '-')}", default=environment.get(_PREFIX + name.upper()), metavar="TEXT"
        )
    given = parser.parse_args(arguments)
    secrets = {name: getattr(given, name) for name in ("api_key", "client_secret", "basic_password")}
    settings = Settings(
        redirect_uris=tuple(given.redirect_uri),
        access_token_seconds=given.access_token_seconds,
        rate_limit=given.rate_limit,
        rate_window_seconds=given.rate_window_seconds,
        **{name: secret for name, secret in secrets.items() if secret},
    )
    return Options(given.host, given.port, given.public_url, given.ready_file, settings)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


async def serve(options: Options) -> None:
    """Serves until a signal comes; raises OSError when it cannot listen or write the ready file."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(options.settings, host=options.host, port=options.port, public_url=options.public_url) as vendor:
        if options.ready_file is not None:
            _write(options.ready_file, {"url": vendor.url, "port": vendor.port})
        print(f"Acme Desk answers at {vendor.url}", flush=True)
        try:
            await stop.wait()
        finally:
            if options.ready_file is not None:
                options.ready_file.unlink(missing_ok=True)


def _write(path: Path, value: dict[str, Any]) -> None:
    """Writes the file so that a reader sees all of it or nothing."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(value), encoding="utf-8")
    draft.replace(path)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main() -> int:
    """Runs the command, and returns its exit code."""
    options = read_options(sys.argv[1:], os.environ)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(options))
    except OSError as refusal:
        print(f"the sandbox vendor cannot start: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
