"""A Proxy that asks its own clock whether a lease has ended: what the tests of clocks have to see."""

from __future__ import annotations

import grpc

from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.proxy import __main__ as proxy
from cordboard.proxy import connections


class Stub:
    """What leads to Auth, and leaves out how long a lease is good for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = CredentialServiceStub(channel)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stub, name)

    async def LeaseCredential(self, request: pb.LeaseCredentialRequest, timeout: float) -> pb.LeaseCredentialResponse:
        """Leases, as an Auth does that says by which time alone."""
        answer: pb.LeaseCredentialResponse = await self._stub.LeaseCredential(request, timeout=timeout)
        answer.ClearField("good_for")
        return answer


def main() -> None:
    """Serves as the Proxy does."""
    setattr(connections, "CredentialServiceStub", Stub)  # noqa: B010 - a class is replaced
    proxy.main()


if __name__ == "__main__":
    main()
