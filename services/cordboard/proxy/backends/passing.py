"""Passes one raw request on to the hub and its answer back: both bodies stream, and a slow reader slows the writer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from cordboard.core.errors import CordboardError
from cordboard.proxy.v1 import forward_service_pb2 as pb

if TYPE_CHECKING:
    Metadata = tuple[tuple[str, str], ...]


class Passing:
    """One request on its way to the hub."""

    def __init__(self, head: pb.ForwardHead, body: AsyncIterator[bytes] | None) -> None:
        """Takes what is asked; `body` None: there is none."""
        self._head = head
        self._body = body
        self._error: CordboardError | None = None
        self.begun = False
        """A part of the body was taken: it cannot be sent from its beginning again."""

    async def parts(self, stub: Any, metadata: Metadata, timeout: float) -> AsyncGenerator[pb.ForwardResponse]:
        """Yields what the hub answers; raises AioRpcError, and what the caller's body breaks off with."""
        stream = stub.Forward(timeout=timeout, metadata=metadata)
        writing = asyncio.create_task(self._write(stream))
        try:
            while (part := await self._read(stream)) is not grpc.aio.EOF:
                yield part
        finally:
            writing.cancel()
            # What was not read the hub need not go on sending.
            stream.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _read(self, stream: Any) -> Any:
        try:
            return await stream.read()
        except asyncio.CancelledError:
            if self._error is not None:
                # The caller's body broke off, and the call with it: nobody cancelled this task.
                raise self._error from None
            raise

    async def _write(self, stream: Any) -> None:
        # Where the hub has ended the call, its status says why.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await stream.write(pb.ForwardRequest(head=self._head))
            if self._body is not None:
                try:
                    async for block in self._body:
                        self.begun = True
                        await stream.write(pb.ForwardRequest(chunk=block))
                except CordboardError as error:
                    self._error = error
                    stream.cancel()
                    return
            await stream.done_writing()
