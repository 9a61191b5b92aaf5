"""Writes docs/conformance.md from runs: `python -m tests.conformance --testbed FOLDER --schemas FOLDER`.

The folders hold https://github.com/open-feature/flagd-testbed and https://github.com/open-feature/flagd-schemas as they
are.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.startup import fresh_options
from cordboard.cli.session import operator_token
from cordboard.client import Client
from cordboard.local.mesh import Mesh
from tests.conformance import clients, documents, suites, testbed

PAGE: Final = Path(__file__).parents[2] / "docs" / "conformance.md"
# How many flags were sent, and what is wrong with them, by whom they were sent to.
Sets = dict[str, tuple[int, list[str]]]
# Where a scenario fails for what a client does, not for what it is sent.
EXPLAINED: Final = """
openfeature-provider-flagd 0.6.1 does not read the metadata of an answer in RPC mode (`resolvers/grpc.py`): a flag's own
metadata are seen in in-process mode alone.
"""

PROVIDERS: Final = """
The scenarios of `gherkin/`, played with the unmodified providers on a whole mesh: directly at the port of Flags, with a
client's certificate and a token, and through Envoy with a token. What flagd's launchpad does is done to the mesh: a
lost connection is a kill of Flags, which comes back after as many seconds on the same database; a modified flag is put
by an operator. Events have to come in the order in which a scenario names them, and a change tells of the flag that
changed alone.

What is asked is flagd's protocols, and not what flags can say: the testbed's flags are given to the evaluation of Flags
as they are, in the place of what typed rules are compiled to, but for the one that changes, which is a flag of the
database. Clients come as an operator, whose claims count. Where flagd injects a context of its own, they come as a
member of a workspace, and the flag asks for its customer. Every provider comes over TLS, with the mesh's own authority
to trust. Who may not is told so by `PERMISSION_DENIED` at the port of Flags, and by `UNAUTHENTICATED` at Envoy: the
scenario names the one that is said there. Clients try again after 1 s, and are in error 1 s after they are stale.
"""


def main() -> int:
    """Runs everything, and writes the page; returns 1 where a client of the table did not pass all checks, and where a
    scenario failed that no client's own source explains.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--testbed", type=Path, required=True, help="the folder of flagd-testbed")
    parser.add_argument("--schemas", type=Path, required=True, help="the folder of flagd-schemas")
    given = parser.parse_args()
    judged = documents.judged(given.schemas)
    found, results, sets = asyncio.run(_run(given.testbed, given.schemas))
    played = asyncio.run(testbed.results(given.testbed))
    version = _version(given.testbed / "version.txt")
    page = [
        *_page(found, results, version),
        "",
        *_providers(played, version),
        "",
        *_documents(judged, sets, _version(given.schemas / "json/version.txt")),
    ]
    PAGE.write_text("\n".join(page) + "\n", encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written\n")
    ran = [one for one in found if not one.skipped]
    well = all(one.passed == frozenset(clients.CHECKS) for one in ran)
    well &= not any(result.unexplained for result in played)
    well &= all(one.passed for one in judged) and not any(problems for _, problems in sets.values())
    return 0 if well else 1


def _version(file: Path) -> str:
    return f" {file.read_text().strip()}" if file.exists() else ""


async def _run(testbed: Path, schemas: Path) -> tuple[list[clients.Outcome], list[suites.Result], Sets]:
    results = await suites.results(testbed)
    with fresh_options() as options:
        async with Mesh(options) as mesh:
            token = await operator_token(mesh.address("auth"), mesh.identity_dir("operator"))
            async with Client(mesh.public_address, token=token, ca_file=mesh.ca_file) as operator:
                found = await clients.outcomes(operator, mesh.public_address, mesh.ca_file)
                sets: Sets = {}
                prefix = await documents.put_every_kind(operator)
                place = await clients.set_up(operator, mesh.public_address, mesh.ca_file)
                for name, asking in (
                    ("all flags, to an operator", replace(place, token=token)),
                    ("worked out for a workspace", place),
                ):
                    document = await documents.sent(asking)
                    if f"{prefix}-all" not in document["flags"]:
                        raise RuntimeError(f"{name}: a flag that was put is missing")
                    sets[name] = len(document["flags"]), documents.invalid(schemas, document)
                return found, results, sets


def _documents(judged: list[documents.Judged], sets: Sets, version: str) -> Iterator[str]:
    yield f"## flagd's schemas, flagd-schemas{version}"
    yield ""
    yield "The documents of `json/test/`, told apart by what `cordboard flag import` asks of flagd's flag definitions;"
    yield "and the sets that the mesh sends to clients which evaluate in process, with flags of every kind."
    yield ""
    yield from documents.lines(judged, sets)


def _providers(played: list[testbed.Result], version: str) -> Iterator[str]:
    yield f"## flagd's suites of providers, flagd-testbed{version}"
    yield ""
    yield PROVIDERS.strip()
    yield ""
    yield from testbed.lines(played)


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
    yield f"## flagd's evaluation suites, flagd-testbed{version}"
    yield ""
    yield "The scenarios of `evaluator/` with their flags, without the examples of older bucketing, played on the"
    yield "evaluation itself, and with the unmodified provider for Python on the mesh's servers of flagd's protocols."
    yield ""
    yield from suites.lines(results)
    if any(result.failures for result in results):
        yield EXPLAINED.rstrip()


if __name__ == "__main__":
    raise SystemExit(main())
