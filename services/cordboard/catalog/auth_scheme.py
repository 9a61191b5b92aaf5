"""What the auth schemes of a definition must mean: each kind's own data, and how schemes stand together."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.findings import shown
from cordboard.catalog.syntax import (
    LINE,
    RESERVED_HEADERS,
    has_stray_brace,
    is_line,
    is_prose,
    is_scope,
    is_token,
    placeholders,
    url_problem,
)
from cordboard.catalog.v1.definition_pb2 import ApiKey, BodyEncoding, Placement
from cordboard.catalog.variable import check_fields

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import (
        AllOf,
        AuthScheme,
        Definition,
        JwtAssertion,
        OAuth2,
        SessionLogin,
        TokenResponse,
    )

MAX_TEXT: Final = 4096

_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
# `Authorization` is where many keys go; the other reserved headers are nobody's.
_NOT_FOR_KEYS: Final = RESERVED_HEADERS - {"authorization"}
# What a kind asks for itself; `fields` adds to it, and `{name}` can stand for either.
_ASKED: Final[Mapping[str, frozenset[str]]] = {
    "oauth2": frozenset({"client_id"}),
    "client_credentials": frozenset({"client_id", "client_secret"}),
    "device": frozenset({"client_id"}),
    "jwt_bearer": frozenset({"private_key"}),
    "signed_jwt": frozenset({"private_key"}),
}
_CONSENT: Final = frozenset({"oauth2", "device", "oauth1"})
# Every text of a scheme in which `{name}` stands for a value, by the message it is in.
_TEMPLATES: Final = {
    "Basic": ("username", "password"),
    "TokenGrant": ("token_url", "revocation_url", "token_parameters"),
    "DeviceAuthorization": ("device_authorization_url",),
    "JwtAssertion": ("key_id", "issuer", "subject", "audience", "claims"),
    "AwsSigV4": ("region",),
    "AssumeRole": ("role_arn",),
    "SessionLogin": ("url", "headers", "body"),
    "OAuth1": ("request_token_url", "authorization_url", "access_token_url"),
    "OAuth2": ("authorization_url", "token_url", "revocation_url", "refresh_url"),
}
# What the mesh puts into an OAuth request itself; a definition that sets it would undo a protection.
_OWN_PARAMETERS: Final = frozenset(
    {
        "assertion",
        "client_assertion",
        "client_id",
        "client_secret",
        "code",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "redirect_uri",
        "refresh_token",
        "scope",
        "state",
    }
)
_OWN_CLAIMS: Final = frozenset({"aud", "exp", "iat", "iss", "jti", "nbf", "sub"})


def check_auth_schemes(definition: Definition, found: Findings) -> None:
    """Notes everything that is wrong with the schemes."""
    variables = {one.name for one in definition.config_variables}
    ids: Counter[str] = Counter()
    for index, scheme in enumerate(definition.auth_schemes):
        below = found.below("auth_schemes", index)
        ids[scheme.id] += 1
        below.require(
            _ID.fullmatch(scheme.id) is not None,
            "id",
            "must be letters, digits, underscores, dots and hyphens, begin with a letter, and be at most 64",
        )
        below.require(ids[scheme.id] == 1, "id", f"{shown(scheme.id)} stands there already")
        below.require(len(scheme.title) <= 200 and is_line(scheme.title), "title", LINE)
        below.require(
            len(scheme.description) <= MAX_TEXT and is_prose(scheme.description), "description", "must be text"
        )
        check_fields(scheme.fields, variables, below)
        _check_kind(scheme, definition, below)
        if scheme.WhichOneof("kind") == "all_of":
            _check_all_of(scheme.all_of, definition.auth_schemes, below.below("all_of"))
    for index, scheme in enumerate(definition.auth_schemes):
        _check_path_key(scheme, definition, found.below("auth_schemes", index))


def key_of(scheme: AuthScheme) -> tuple[str, ApiKey] | None:
    """Returns where a scheme puts its key or token, and under which field it says so; None where it says nothing."""
    kind = scheme.WhichOneof("kind")
    if kind == "api_key":
        return "api_key", scheme.api_key
    if kind == "signed_jwt" and scheme.signed_jwt.HasField("placement"):
        return "signed_jwt.placement", scheme.signed_jwt.placement
    if kind == "session" and scheme.session.HasField("placement"):
        return "session.placement", scheme.session.placement
    return None


def path_keys(scheme: AuthScheme, schemes: Sequence[AuthScheme]) -> set[str]:
    """Returns the `{name}`s of paths that a scheme fills."""
    if scheme.WhichOneof("kind") == "all_of":
        parts = [one for one in schemes if one.id in scheme.all_of.auth_schemes and one.WhichOneof("kind") != "all_of"]
        return {name for part in parts for name in path_keys(part, schemes)}
    placed = key_of(scheme)
    return {placed[1].name} if placed is not None and placed[1].placement == Placement.PLACEMENT_PATH else set()


def templates(scheme: AuthScheme) -> list[tuple[str, str]]:
    """Returns the texts of a scheme in which `{name}` stands for a value, each with its path below the scheme."""
    kind = scheme.WhichOneof("kind")
    return [] if kind is None else _templates(getattr(scheme, kind), kind)


def _templates(message: Any, path: str) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    named = _TEMPLATES.get(message.DESCRIPTOR.name, ())
    for field, value in message.ListFields():
        if field.name in named:
            many = not isinstance(value, str)
            told += (
                [(f"{path}.{field.name}.{key}", value[key]) for key in sorted(value)]
                if many
                else [(f"{path}.{field.name}", value)]
            )
        elif field.message_type is not None and not field.is_repeated:
            told += _templates(value, f"{path}.{field.name}")
    return told


def _check_kind(scheme: AuthScheme, definition: Definition, found: Findings) -> None:
    kind = scheme.WhichOneof("kind")
    if kind is None:
        kinds = ", ".join(field.name for field in scheme.DESCRIPTOR.oneofs_by_name["kind"].fields)
        found.add("", f"must be of a kind: {kinds}")
        return
    told: Any = getattr(scheme, kind)
    below = found.below(kind)
    known = {one.name for one in scheme.fields} | {one.name for one in definition.config_variables}
    known |= _ASKED.get(kind, frozenset())
    for path, text in templates(scheme):
        _check_template(text, known, path, found)
    if kind == "oauth2":
        _check_oauth2(told, definition, below)
    elif kind in ("client_credentials", "device", "jwt_bearer"):
        below = below.below("grant")
        _check_parameters(told.grant.token_parameters, "token_parameters", below)
        _check_token_response(told.grant.token_response, definition, below)
    elif kind == "session":
        _check_session(told, below)
    if kind in ("jwt_bearer", "signed_jwt"):
        _check_assertion(told.assertion, scheme, found.below(kind).below("assertion"))
    placed = key_of(scheme)
    if placed is not None:
        _check_api_key(placed[1], found.below(placed[0]))


def _check_template(text: str, known: Collection[str], path: str, found: Findings) -> None:
    if has_stray_brace(text):
        found.add(path, "has braces that stand for nothing")
    for name in dict.fromkeys(placeholders(text)):
        held = name in known
        found.require(held, path, f"{{{name[:80]}}} is neither a field of the scheme nor a config variable")


def _check_oauth2(oauth2: OAuth2, definition: Definition, found: Findings) -> None:
    for name, needed in (
        ("authorization_url", True),
        ("token_url", True),
        ("revocation_url", False),
        ("issuer", False),
    ):
        url = getattr(oauth2, name)
        if url or needed:
            problem = url_problem(url, base=False, placeholders_allowed=name != "issuer")
            found.require(not problem and "#" not in url, name, problem or "must have no fragment")
    names: Counter[str] = Counter()
    for index, scope in enumerate(oauth2.scopes):
        names[scope.name] += 1
        held = is_scope(scope.name) and names[scope.name] == 1
        found.require(held, f"scopes[{index}].name", "must be an OAuth scope, and stand there once")
    for index, default in enumerate(oauth2.default_scopes):
        held = is_scope(default) and (not names or default in names)
        found.require(held, f"default_scopes[{index}]", "must be one of the scopes")
    _check_parameters(oauth2.authorization_parameters, "authorization_parameters", found)
    _check_parameters(oauth2.token_parameters, "token_parameters", found)
    _check_token_response(oauth2.token_response, definition, found)


def _check_parameters(parameters: Any, field: str, found: Findings) -> None:
    for name in sorted(parameters):
        found.require(name not in _OWN_PARAMETERS, f"{field}.{name}", "is set by the mesh itself")


def _check_token_response(response: TokenResponse, definition: Definition, found: Findings) -> None:
    known = {one.name: one for one in definition.config_variables}
    for name in sorted(response.config_variables):
        field = f"token_response.config_variables.{name}"
        found.require(name in known, field, f"{shown(name)} is not one of the config variables")
        if name in known:
            found.require(not known[name].secret, field, f"{shown(name)} is secret, and what an answer tells is shown")


def _check_assertion(assertion: JwtAssertion, scheme: AuthScheme, found: Findings) -> None:
    if assertion.key_field:
        names = {one.name for one in scheme.fields} | {"private_key"}
        held = assertion.key_field in names
        found.require(held, "key_field", f"{shown(assertion.key_field)} is not one of the scheme's fields")
    for name in sorted(assertion.claims):
        found.require(name not in _OWN_CLAIMS, f"claims.{name}", "has a field of its own, or is set by the mesh")


def _check_session(session: SessionLogin, found: Findings) -> None:
    found.require(session.WhichOneof("token") is not None, "", "must say where the answer has the token")
    held = session.encoding in (
        BodyEncoding.BODY_ENCODING_UNSPECIFIED,
        BodyEncoding.BODY_ENCODING_JSON,
        BodyEncoding.BODY_ENCODING_FORM,
    )
    found.require(held, "encoding", "must be json or form")
    found.require(session.method != "GET" or not session.body, "body", "cannot go with GET")


def _check_api_key(key: ApiKey, found: Findings) -> None:
    if key.placement in (Placement.PLACEMENT_QUERY, Placement.PLACEMENT_BODY, Placement.PLACEMENT_PATH):
        found.require(0 < len(key.name) <= 128 and is_line(key.name), "name", LINE)
    elif key.placement in (Placement.PLACEMENT_HEADER, Placement.PLACEMENT_COOKIE):
        held = is_token(key.name) and key.name.lower() not in _NOT_FOR_KEYS
        found.require(held, "name", "is not a header or cookie that can hold a key")
    else:
        found.add("placement", "must be header, query, cookie, body or path")
    found.require(len(key.prefix) <= 64 and is_line(key.prefix) and key.prefix.isascii(), "prefix", "must be ASCII")


def _check_path_key(scheme: AuthScheme, definition: Definition, found: Findings) -> None:
    placed = key_of(scheme)
    if placed is None or placed[1].placement != Placement.PLACEMENT_PATH or not definition.actions:
        return
    wanted = f"{{{placed[1].name}}}"
    if not any(wanted in action.request.path for action in definition.actions):
        found.add(f"{placed[0]}.placement", f"is the path, and no action's path has {wanted[:100]}")


def _check_all_of(all_of: AllOf, schemes: Sequence[AuthScheme], found: Findings) -> None:
    by_id = {scheme.id: scheme for scheme in schemes}
    found.require(len(all_of.auth_schemes) >= 2, "auth_schemes", "must be two or more")
    seen: set[str] = set()
    places: set[tuple[int, str]] = set()
    consents = 0
    for index, name in enumerate(all_of.auth_schemes):
        field = f"auth_schemes[{index}]"
        part = by_id.get(name)
        kind = "" if part is None else part.WhichOneof("kind")
        if part is None or kind is None:
            found.add(field, f"{shown(name)} is not one of the definition's auth schemes")
            continue
        if name in seen:
            found.add(field, f"{shown(name)} stands there already")
        elif kind in ("all_of", "none"):
            found.add(field, f"{shown(name)} is itself {kind!r}, which cannot be a part")
        elif kind != "mtls":
            place = _place(part)
            found.require(place not in places, field, f"{shown(name)} goes where another part goes")
            places.add(place)
        seen.add(name)
        consents += kind in _CONSENT
    found.require(consents < 2, "auth_schemes", "have two parts that ask a person to consent at the vendor")


def _place(scheme: AuthScheme) -> tuple[int, str]:
    placed = key_of(scheme)
    if placed is None:
        return Placement.PLACEMENT_HEADER, "authorization"
    key = placed[1]
    return key.placement, key.name.lower() if key.placement == Placement.PLACEMENT_HEADER else key.name
