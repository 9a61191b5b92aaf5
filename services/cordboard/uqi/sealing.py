"""Secrets that were filled in become references, by the Proxy and with the caller's own token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import grpc

from cordboard.core.errors import DependencyUnavailable, InvalidFields, NotFound
from cordboard.core.json_pointers import unescape
from cordboard.proxy.v1 import sealed_input_service_pb2 as pb
from cordboard.proxy.v1.sealed_input_service_pb2_grpc import SealedInputServiceStub

if TYPE_CHECKING:
    from cordboard.proxy.v1.sealed_input_service_pb2_grpc import SealedInputServiceAsyncStub
    from cordboard.uqi.binding import Bound
    from cordboard.uqi.options import Credentials

MOST_SECONDS: Final = 10.0
# As many as the Proxy takes at once.
AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Owner:
    """What secrets are sealed for: the calls of one action in one workspace."""

    workspace: str
    integration: str
    action: str


class Sealing:
    """Puts references in the place of secrets."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel] | None) -> None:
        """Takes what returns the channel to use now; None where this process knows no Proxy."""
        self._channel = channel

    async def sealed(self, found: Bound, owner: Owner | None, credentials: Credentials) -> Bound:
        """Returns what was bound with a reference for each secret; as it is without an owner, or where it has none.

        Raises NotFound for a workspace that is not the caller's, InvalidFields for a token that cannot be passed on,
        and DependencyUnavailable.
        """
        if owner is None or not found.secrets:
            return found
        references: list[str] = []
        for first in range(0, len(found.secrets), AT_ONCE):
            places = zip(found.secrets[first : first + AT_ONCE], found.withheld[first : first + AT_ONCE], strict=True)
            secrets = [pb.InputSecret(pointer=place.pointer, secret=secret.reveal()) for place, secret in places]
            references += await self._references(owner, secrets, credentials)
        filled: dict[str, Any] = found.input
        for place, reference in zip(found.secrets, references, strict=True):
            filled = _with(filled, place.pointer.split("/")[1:], reference)
        return replace(found, input=filled, secrets=(), withheld=())

    async def _references(
        self, owner: Owner, secrets: Sequence[pb.InputSecret], credentials: Credentials
    ) -> Sequence[str]:
        if self._channel is None:
            raise DependencyUnavailable("proxy")
        stub: SealedInputServiceAsyncStub = SealedInputServiceStub(self._channel())
        request = pb.SealInputRequest(
            parent=f"workspaces/{owner.workspace}",
            integration=f"integrations/{owner.integration}",
            action=owner.action,
            secrets=secrets,
        )
        try:
            answer = await stub.SealInput(request, timeout=MOST_SECONDS, metadata=credentials)
        except grpc.aio.AioRpcError as error:
            raise _problem(error, request.parent) from None
        return answer.references


def _problem(error: grpc.aio.AioRpcError, workspace: str) -> NotFound | InvalidFields | DependencyUnavailable:
    match error.code():
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.PERMISSION_DENIED:
            return NotFound(workspace)
        case grpc.StatusCode.UNAUTHENTICATED:
            # It counted here: it is bound to a certificate that this service does not have.
            return InvalidFields.one("workspace", "needs a token that can be passed on, not one bound to a certificate")
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidFields.one("values", "has a secret that is too long or too far inside to be sealed")
        case _:
            return DependencyUnavailable("proxy")


def _with(value: Any, steps: Sequence[str], reference: str) -> Any:
    if not steps:
        return reference
    name = unescape(steps[0])
    if isinstance(value, list):
        index = int(name)
        return [*value[:index], _with(value[index], steps[1:], reference), *value[index + 1 :]]
    return {**value, name: _with(value[name], steps[1:], reference)}
