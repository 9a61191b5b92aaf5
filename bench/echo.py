"""A bare grpc.aio server with mutual TLS: what any service in Python costs at the very least.

The first four bytes of a request say how large the answer is to be, so that both have the size of the compared call's.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from bench import processes

METHOD = "/bench.Echo/Echo"


def request_of(request_size: int, response_size: int) -> BytesValue:
    """Returns a request of that size that asks for an answer of that size."""
    return BytesValue(value=response_size.to_bytes(4, "big").ljust(request_size, b"x"))


class Echo:
    """Answers with as many bytes as are asked for."""

    def __init__(self) -> None:
        """Begins with no answers made."""
        self._answers: dict[int, BytesValue] = {}

    async def answer(self, request: BytesValue, _context: Any) -> BytesValue:
        """Returns an answer of the size that the request says."""
        size = int.from_bytes(request.value[:4], "big")
        answer = self._answers.get(size)
        if answer is None:
            answer = self._answers[size] = BytesValue(value=b"x" * size)
        return answer


async def _main(identity: Path, ready_file: Path) -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        Echo().answer,
        BytesValue.FromString,
        BytesValue.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    await processes.serve(server, identity, ready_file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.echo")
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    given = parser.parse_args()
    processes.run(partial(_main, given.identity, given.ready_file))
