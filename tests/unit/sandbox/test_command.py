"""The command that serves the vendor: it tells when it is ready, and stops when it is asked to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cordboard.sandbox.__main__ import read_options

COMMAND = [sys.executable, "-m", "cordboard.sandbox"]


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Runs the command inside the block, and makes sure that it is gone afterwards."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(path: Path, process: subprocess.Popen[str]) -> dict[str, object]:
    """Waits for the ready file, and returns what it says."""
    give_up = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, "the vendor ended before it was ready"
        assert time.monotonic() < give_up, "the vendor was not ready in time"
        time.sleep(0.01)
    told: dict[str, object] = json.loads(path.read_text())
    return told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_ready_when_the_file_is_there_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "ready.json"
    with running("--ready-file", str(path), "--redirect-uri", "https://app.example/back") as process:
        told = ready(path, process)
        with urllib.request.urlopen(f"{told['url']}/_sandbox/credentials") as answer:
            credentials = json.load(answer)
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)

    assert told["url"] == f"http://127.0.0.1:{told['port']}"
    assert credentials["redirect_uris"] == ["https://app.example/back"]
    assert output == f"Acme Desk answers at {told['url']}\n"
    assert (process.returncode, errors) == (0, "")
    assert [*tmp_path.iterdir()] == []


def test_secrets_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    with running("--ready-file", str(path), CORDBOARD_SANDBOX_API_KEY="demo-key") as process:
        request = urllib.request.Request(f"{ready(path, process)['url']}/v1/me", headers={"X-Api-Key": "demo-key"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running("--port", port) as process:
            _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert errors.startswith("the sandbox vendor cannot start: ")
    assert errors.count("\n") == 1


def test_an_option_beats_the_environment_and_an_empty_one_counts_as_none() -> None:
    prefix = "CORDBOARD_SANDBOX_"
    environment = {f"{prefix}API_KEY": "from-environment", f"{prefix}CLIENT_SECRET": ""}
    given = read_options(["--api-key", "from-option"], environment).settings
    left = read_options([], environment).settings

    assert given.api_key == "from-option"
    assert left.api_key == "from-environment"
    assert len(left.client_secret) >= 32


@pytest.mark.parametrize(
    "arguments", [["--rate-limit", "0"], ["--port", "x"], ["--colour"], ["--access-token-seconds", "-1"]]
)
def test_a_wrong_option_ends_the_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(arguments, {})

    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(["--help"], {})

    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--port", "--ready-file", "--redirect-uri", "--rate-limit", "--api-key"))
