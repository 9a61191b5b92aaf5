"""Writes docs/conformance.md from runs: `python -m tests.conformance --testbed FOLDER`.

FOLDER holds https://github.com/open-feature/flagd-testbed as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.startup import fresh_options
from cordboard.cli.session import operator_token
from cordboard.client import Client
from cordboard.local.mesh import Mesh
from tests.conformance import clients, suites

PAGE: Final = Path(__file__).parents[2] / "docs" / "conformance.md"
# Where a scenario fails for what a client does, not for what it is sent.
EXPLAINED: Final = """
openfeature-provider-flagd 0.6.1 does not read the metadata of an answer in RPC mode (`resolvers/grpc.py`): a flag's own
metadata are seen in in-process mode alone.
"""


def main() -> int:
    """Runs everything, and writes the page; returns 1 where a client of the table did not pass all checks."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--testbed", type=Path, required=True, help="the folder of flagd-testbed")
    given = parser.parse_args()
    found, results = asyncio.run(_run(given.testbed))
    version = (given.testbed / "version.txt").read_text().strip() if (given.testbed / "version.txt").exists() else ""
    PAGE.write_text("\n".join(_page(found, results, version)) + "\n", encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")
    ran = [one for one in found if not one.skipped]
    return 0 if all(one.passed == frozenset(clients.CHECKS) for one in ran) else 1


async def _run(testbed: Path) -> tuple[list[clients.Outcome], list[suites.Result]]:
    results = await suites.results(testbed)
    with fresh_options() as options:
        async with Mesh(options) as mesh:
            token = await operator_token(mesh.address("auth"), mesh.identity_dir("operator"))
            async with Client(mesh.public_address, token=token, ca_file=mesh.ca_file) as operator:
                return await clients.outcomes(operator, mesh.public_address, mesh.ca_file), results


def _page(found: list[clients.Outcome], results: list[suites.Result], version: str) -> Iterator[str]:
    yield "<!-- Written by `make conformance`. Do not edit. -->"
    yield ""
    yield "# Conformance"
    yield ""
    yield "Unmodified clients against a whole mesh, through Envoy, with the token of a workspace."
    yield ""
    yield f"| Client | Version | Protocol | {' | '.join(clients.CHECKS)} |"
    yield f"|---|---|---|{'---|' * len(clients.CHECKS)}"
    for one in found:
        if one.skipped:
            yield f"| {one.client} | {one.skipped} | {one.protocol} |{' |' * len(clients.CHECKS)}"
            continue
        marks = " | ".join("yes" if check in one.passed else "**no**" for check in clients.CHECKS)
        yield f"| {one.client} | {one.version} | {one.protocol} | {marks} |"
    yield ""
    yield "`a change` is a kill of the flag, which the client tells of, or gives with its next answer."
    yield ""
    yield f"## flagd's evaluation suites{f', flagd-testbed {version}' if version else ''}"
    yield ""
    yield "The scenarios of `evaluator/` with their flags, without the examples of older bucketing, played on the"
    yield "evaluation itself, and with the unmodified provider for Python on the mesh's servers of flagd's protocols."
    yield ""
    yield from suites.lines(results)
    if any(result.failures for result in results):
        yield EXPLAINED.rstrip()


if __name__ == "__main__":
    raise SystemExit(main())
