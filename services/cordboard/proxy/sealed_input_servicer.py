"""SealedInputService: messages in, one call of the domain, messages out."""

from __future__ import annotations

import re
from typing import Any, Final

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.names import parse
from cordboard.core.secrets import Secret
from cordboard.proxy.messages import check_action
from cordboard.proxy.sealed_inputs import Placed, SealedInputs
from cordboard.proxy.v1 import sealed_input_service_pb2 as pb
from cordboard.proxy.v1.sealed_input_service_pb2_grpc import SealedInputServiceServicer

MOST_SECRETS: Final = 100
LONGEST_POINTER: Final = 1_000
LONGEST_SECRET: Final = 65_536
_POINTER: Final = re.compile(r"(/([^~/]|~[01])*)+", re.DOTALL)


class SealedInputServicer(SealedInputServiceServicer):
    """Serves SealedInputService."""

    def __init__(self, sealed: SealedInputs) -> None:
        """Takes what makes references."""
        self._sealed = sealed

    async def SealInput(self, request: pb.SealInputRequest, context: Any) -> pb.SealInputResponse:
        """Returns a reference for each secret."""
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        (integration,) = parse(request.integration, "integrations/*", field="integration")
        check_action(request.action)
        secrets = to_placed(request)
        return pb.SealInputResponse(
            references=await self._sealed.references(workspace, integration, request.action, secrets)
        )


def to_placed(request: pb.SealInputRequest) -> list[Placed]:
    """Returns the secrets of a request; raises InvalidFields with everything that is wrong."""
    if not 1 <= len(request.secrets) <= MOST_SECRETS:
        raise InvalidFields.one("secrets", f"must be 1 to {MOST_SECRETS}")
    wrong = []
    for index, one in enumerate(request.secrets):
        if len(one.pointer) > LONGEST_POINTER or not _POINTER.fullmatch(one.pointer):
            wrong.append(Violation(f"secrets[{index}].pointer", "must be a JSON Pointer to a member", "INVALID"))
        if len(one.secret) > LONGEST_SECRET:
            text = f"must be at most {LONGEST_SECRET} characters"
            wrong.append(Violation(f"secrets[{index}].secret", text, "INVALID"))
    if wrong:
        raise InvalidFields(wrong)
    return [Placed(one.pointer, Secret(one.secret)) for one in request.secrets]
