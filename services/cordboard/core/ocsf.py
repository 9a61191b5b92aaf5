"""Audit entries in the Open Cybersecurity Schema Framework (1.3): what log collectors of security teams read.

What changes who may do something is Account Change (class 3001); everything else is API Activity (class 6003).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cordboard.core.audit_chains import Written

VERSION: Final = "1.3.0"
API_ACTIVITY, ACCOUNT_CHANGE = 6003, 3001
# Nouns of actions that are about who may do something.
_ACCOUNTS: Final = frozenset({"token", "api-key", "signing-key", "session", "role", "login"})
# API Activity: Create, Read, Update, Delete, Other. Account Change: Create, ..., Delete, Other.
_ACTIVITY: Final = {
    "create": 1, "issue": 1, "add": 1, "publish": 1, "import": 1,
    "get": 2, "list": 2, "lease": 2, "export": 2, "verify": 2,
    "update": 3, "rotate": 3, "refresh": 3, "put": 3, "set": 3, "restore": 3,
    "delete": 4, "revoke": 4, "destroy": 4, "shred": 4,
}  # fmt: skip
_ACCOUNT: Final = {"create": 1, "issue": 1, "add": 1, "delete": 6, "revoke": 6, "expire": 5}
_OTHER: Final = 99


def event(entry: Written, service: str) -> dict[str, Any]:
    """Returns an entry as an OCSF event."""
    said = entry.values()
    action = str(said.get("action", ""))
    parts = action.split(".")
    verb, noun = parts[-1], parts[1] if len(parts) > 1 else ""
    account = noun in _ACCOUNTS
    class_uid = ACCOUNT_CHANGE if account else API_ACTIVITY
    activity = (_ACCOUNT if account else _ACTIVITY).get(verb, _OTHER)
    well = said.get("outcome") == "ok"
    actor = {"user": {"name": str(said.get("actor", "")), "type_id": 0}}
    found: dict[str, Any] = {
        "activity_id": activity,
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "type_uid": class_uid * 100 + activity,
        "time": round(entry.time.timestamp() * 1000),
        "severity_id": 1 if well else 3,
        "status_id": 1 if well else 2,
        "status_code": str(said.get("outcome", "")),
        "message": f"{action} {said.get('resource', '')}".strip(),
        "metadata": {
            "version": VERSION,
            "product": {"name": "Cordboard", "vendor_name": "Cordboard", "feature": {"name": service}},
            "uid": f"{service}/{entry.chain}/{entry.sequence}",
            "sequence": entry.sequence,
            "correlation_uid": str(said.get("trace_id", "")),
            "log_name": f"audit/{entry.chain or '-'}",
        },
        "actor": actor,
        "unmapped": {
            "chain": entry.chain,
            "hash": entry.hash.hex(),
            "peer": said.get("peer", ""),
            "token_id": said.get("token_id", ""),
            "details": said.get("details", {}),
        },
    }
    if account:
        found["user"] = {"name": str(said.get("resource", "")), "type_id": 0}
    else:
        found["api"] = {"operation": action, "service": {"name": service}}
        found["src_endpoint"] = {"svc_name": str(said.get("peer", "")) or "unknown"}
        found["resources"] = [{"name": str(said.get("resource", "")), "type": noun}]
    return found
