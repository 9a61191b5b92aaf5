"""Every RPC that changes something, or gives a secret away, has a place in the code that writes it into the journal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

import tests.contract.services as contract
from cordboard.local.certificates import SERVICES

CODE: Final = Path(__file__).parents[2] / "services" / "cordboard"
# What only looks. A watch of rotations and an export of journals look too, and the latter is written down besides.
# Sealing gives back what was sent in another form, and keeps nothing.
READS: Final = re.compile(
    r"(Get|List|Watch|Search|Check|Evaluate|Validate|Diff|Bind|Server|Preview|Simulate|Explain|Show|Open|Seal)"
)
# The actions that each RPC writes. A new RPC is added here together with what it writes.
WRITES: Final = {
    "CreateWorkspace": "auth.workspace.{verb}",
    "UpdateWorkspace": "auth.workspace.{verb}",
    "ShredWorkspace": "auth.workspace.shred",
    "CreateTransferKey": "auth.transfer-key.create",
    "ExportCredentials": "auth.vault.export",
    "ImportCredentials": "auth.vault.import",
    "RotateKeys": "auth.vault.rotate",
    "CutOffAccess": "auth.incident.{verb}",
    "RestoreAccess": "auth.incident.{verb}",
    "IssueToken": "auth.token.issue",
    "IssueEdgeToken": "auth.token.issue",
    "RefreshToken": "auth.token.refresh",
    "HandleLoginCallback": "auth.login.{verb}",
    "EndSession": "auth.login.{verb}",
    "InviteBrowser": "auth.login.{verb}",
    "OpenSession": "auth.login.{verb}",
    "CompleteLogin": "auth.token.issue",
    "IssueSessionToken": "auth.token.issue",
    "RevokeToken": "auth.token.revoke",
    "RevokeAllTokens": "auth.token.revoke-all",
    "RevokeSigningKey": "auth.signing-key.revoke",
    "CreateApiKey": "auth.api-key.create",
    "RevokeApiKey": "auth.api-key.revoke",
    "ExchangeApiKey": "auth.api-key.use",
    "RotateSigningKey": "auth.signing-key.create",
    "CreateConnectSession": "auth.connect-session.create",
    "SubmitConnectSession": "auth.connection.create",
    "HandleCallback": "auth.connection.create",
    "CreateConnectLink": "auth.connect-link.create",
    "SubmitConnectPage": "auth.connection.create",
    "SetOAuthClient": "auth.oauth-client.put",
    "SetWorkspaceOAuthClient": "auth.oauth-client.put",
    "DeleteWorkspaceOAuthClient": "auth.oauth-client.delete",
    "SetWorkspaceConfiguration": "auth.configuration.put",
    "DeleteConnection": "auth.connection.delete",
    "LeaseCredential": "auth.credential.lease",
    "LeaseSealingKey": "auth.sealing-key.lease",
    "ReportCredential": "auth.credential.refresh",
    "Execute": "proxy.calls.record",
    "ExecuteStream": "proxy.calls.record",
    "VerifyAudit": "{self._service}.audit.{verb}",
    "ExportAudit": "{self._service}.audit.{verb}",
}
# Nobody is known yet, and nothing is given: what becomes of it is written when the person comes back.
BEGINS: Final = frozenset({"BeginLogin"})
OWNERS: Final = ("cordboard.auth.v1.", "cordboard.common.v1.")


def changing() -> set[str]:
    """Returns the RPCs of Auth, and those of every journal, that do more than look."""
    return {
        method.descriptor.name
        for process in SERVICES
        for method in contract.methods(process)
        if method.descriptor.containing_service.full_name.startswith(OWNERS) and not READS.match(method.descriptor.name)
    }


def written() -> str:
    """Returns the code of every service."""
    return "\n".join(
        path.read_text() for path in sorted(CODE.rglob("*.py")) if not path.stem.endswith(("_pb2", "_grpc"))
    )


def unknown(methods: set[str]) -> set[str]:
    """Returns those of which nobody has said what they write."""
    return methods - set(WRITES) - BEGINS


@pytest.mark.parametrize("method", sorted(WRITES))
def test_what_an_rpc_writes_into_the_journal_is_in_the_code(method: str) -> None:
    assert f'"{WRITES[method]}"' in written()


def test_every_rpc_that_changes_something_says_what_it_writes() -> None:
    found = changing()
    assert len(found) > 15, "the control: there are some"
    assert unknown(found) == set()
    assert unknown({"DestroyEverything"}) == {"DestroyEverything"}
