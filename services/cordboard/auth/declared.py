"""The schemes that a definition declares, as Auth uses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from google.protobuf.duration_pb2 import Duration

from cordboard.auth.certificates import CERTIFICATE, PRIVATE_KEY
from cordboard.auth.schemes import (
    ACCESS_KEY_ID,
    CLIENT_ID,
    CLIENT_SECRET,
    EXTERNAL_ID,
    ROLE_ARN,
    SECRET_ACCESS_KEY,
    Assertion,
    Field,
    Login,
    OAuth,
    OAuth1,
    Part,
    Role,
    Scheme,
    TokenResponse,
)
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.variables import schema_of

ASSERTION_SECONDS: Final = 300
ROLE_SECONDS: Final = 3600
_AUTHENTICATION: Final[Mapping[int, str]] = {
    pb.CLIENT_AUTHENTICATION_UNSPECIFIED: "basic",
    pb.CLIENT_AUTHENTICATION_BASIC: "basic",
    pb.CLIENT_AUTHENTICATION_POST: "post",
    pb.CLIENT_AUTHENTICATION_NONE: "none",
    pb.CLIENT_AUTHENTICATION_PRIVATE_KEY_JWT: "private_key_jwt",
}
_ALGORITHMS: Final[Mapping[int, str]] = {
    pb.JWT_ALGORITHM_UNSPECIFIED: "RS256",
    pb.JWT_ALGORITHM_RS256: "RS256",
    pb.JWT_ALGORITHM_RS512: "RS512",
    pb.JWT_ALGORITHM_ES256: "ES256",
    pb.JWT_ALGORITHM_HS256: "HS256",
    pb.JWT_ALGORITHM_HS512: "HS512",
    pb.JWT_ALGORITHM_EDDSA: "EdDSA",
}
_SIGNATURES: Final[Mapping[int, str]] = {
    pb.O_AUTH1_SIGNATURE_METHOD_UNSPECIFIED: "HMAC-SHA1",
    pb.O_AUTH1_SIGNATURE_METHOD_HMAC_SHA1: "HMAC-SHA1",
    pb.O_AUTH1_SIGNATURE_METHOD_HMAC_SHA256: "HMAC-SHA256",
    pb.O_AUTH1_SIGNATURE_METHOD_RSA_SHA1: "RSA-SHA1",
    pb.O_AUTH1_SIGNATURE_METHOD_PLAINTEXT: "PLAINTEXT",
}


def schemes_of(declared: Iterable[pb.AuthScheme]) -> dict[str, Scheme]:
    """Returns the declared schemes by id, in order; a combination has the parts of those that it names."""
    known = list(declared)
    parts = {scheme.id: _part(scheme) for scheme in known if scheme.WhichOneof("kind") != "all_of"}
    found: dict[str, Scheme] = {}
    for scheme in known:
        if scheme.WhichOneof("kind") == "all_of":
            named = tuple(replace(parts[each], id=each) for each in scheme.all_of.auth_schemes if each in parts)
            found[scheme.id] = Scheme(scheme.id, "all_of", named or (Part("", "none"),))
        else:
            found[scheme.id] = Scheme(scheme.id, parts[scheme.id].kind, (parts[scheme.id],))
    return found


def _part(scheme: pb.AuthScheme) -> Part:
    part = _kind(scheme)
    known = {field.name for field in part.fields}
    more = tuple(_field(field) for field in scheme.fields if field.name not in known)
    told = {field.name: field for field in scheme.fields}
    own = tuple(_told(field, told.get(field.name)) for field in part.fields)
    return replace(part, fields=(*more, *own))


def _kind(scheme: pb.AuthScheme) -> Part:
    kind = scheme.WhichOneof("kind") or "none"
    match kind:
        case "oauth2":
            return Part("", kind, oauth=_oauth2(scheme.oauth2))
        case "device":
            oauth = replace(_granted(scheme.device.grant), device_url=scheme.device.device_authorization_url)
            return Part("", kind, oauth=oauth)
        case "client_credentials":
            told = scheme.client_credentials
            shown = _AUTHENTICATION[told.grant.client_authentication]
            key = shown == "private_key_jwt"
            title = told.client_secret_title or ("Private key" if key else "Client secret")
            fields = (
                Field(CLIENT_ID, told.client_id_title or "Client ID", secret=False),
                Field(CLIENT_SECRET, title, optional=shown == "none", lines=key),
            )
            return Part("", kind, fields, oauth=_granted(told.grant))
        case "jwt_bearer":
            assertion = _assertion(scheme.jwt_bearer.assertion)
            return Part("", kind, _key(assertion), oauth=_granted(scheme.jwt_bearer.grant), assertion=assertion)
        case "signed_jwt":
            assertion = _assertion(scheme.signed_jwt.assertion)
            return Part("", kind, _key(assertion), assertion=assertion)
        case "session":
            return Part("", kind, login=_login(scheme.session))
        case "oauth1":
            return Part("", kind, oauth1=_oauth1(scheme.oauth1))
        case "aws_sigv4" if scheme.aws_sigv4.HasField("assume_role"):
            return _role(scheme.aws_sigv4)
        case _:
            return Part("", kind, _pasted(scheme, kind))


def _pasted(scheme: pb.AuthScheme, kind: str) -> tuple[Field, ...]:
    match kind:
        case "api_key":
            return (Field("api_key", "API key"),)
        case "basic":
            asked = _user(scheme.basic.username_title, scheme.basic.password_title)
            # What the definition says itself nobody types in.
            fixed = {"username": scheme.basic.username, "password": scheme.basic.password}
            return tuple(field for field in asked if not fixed[field.name])
        case "digest":
            return _user(scheme.digest.username_title, scheme.digest.password_title)
        case "bearer":
            return (Field("token", scheme.bearer.token_title or "Token"),)
        case "aws_sigv4":
            return (
                Field("access_key_id", "Access key ID", secret=False),
                Field("secret_access_key", "Secret access key"),
                Field("session_token", "Session token", optional=True),
            )
        case "mtls":
            return (
                Field(CERTIFICATE, "Client certificate", secret=False, lines=True),
                Field(PRIVATE_KEY, "Private key", lines=True),
            )
        case _:
            return ()


def _user(username: str, password: str) -> tuple[Field, ...]:
    # Some vendors take a key for the user name, and no password.
    return (
        Field("username", username or "User name", secret=False, colon=False),
        Field("password", password or "Password", empty=True),
    )


def _field(told: pb.AuthField) -> Field:
    return Field(
        told.name,
        told.title or told.name,
        secret=not told.plain,
        optional=told.optional,
        lines=told.multiline,
        schema=schema_of(told.schema_json),
    )


def _told(field: Field, told: pb.AuthField | None) -> Field:
    """Returns a field that the kind asks for, as the definition words it."""
    if told is None:
        return field
    return replace(field, title=told.title or field.title, schema=schema_of(told.schema_json))


def _key(assertion: Assertion) -> tuple[Field, ...]:
    shared = assertion.algorithm.startswith("HS")
    return (Field(assertion.key, "Secret" if shared else "Private key", lines=not shared),)


def _seconds(told: Duration) -> int | None:
    return told.seconds if told.seconds > 0 else None


def _oauth2(told: pb.OAuth2) -> OAuth:
    return OAuth(
        authorization_url=told.authorization_url,
        token_url=told.token_url,
        revocation_url=told.revocation_url,
        scopes=frozenset(scope.name for scope in told.scopes),
        default_scopes=tuple(told.default_scopes),
        authentication=_AUTHENTICATION[told.client_authentication],
        issuer=told.issuer,
        refresh_url=told.refresh_url,
        authorization_parameters=dict(told.authorization_parameters),
        token_parameters=dict(told.token_parameters),
        scope_separator=told.scope_separator or " ",
        pkce=not told.without_pkce,
        token_types=frozenset(each.lower() for each in told.token_response.token_types) | {"bearer"},
        response=_response(told.token_response),
        default_seconds=_seconds(told.token_response.default_lifetime),
        idle_seconds=_seconds(told.refresh_token_idle_lifetime),
        grace_seconds=_seconds(told.refresh_grace),
    )


def _granted(told: pb.TokenGrant) -> OAuth:
    return OAuth(
        authorization_url="",
        token_url=told.token_url,
        revocation_url=told.revocation_url,
        scopes=frozenset(),
        default_scopes=tuple(told.scopes),
        authentication=_AUTHENTICATION[told.client_authentication],
        issuer="",
        token_parameters=dict(told.token_parameters),
        scope_separator=told.scope_separator or " ",
        token_types=frozenset(each.lower() for each in told.token_response.token_types) | {"bearer"},
        response=_response(told.token_response),
        default_seconds=_seconds(told.token_response.default_lifetime),
    )


def _response(told: pb.TokenResponse) -> TokenResponse:
    usual = TokenResponse()
    return TokenResponse(
        access_token=told.access_token_pointer or usual.access_token,
        refresh_token=told.refresh_token_pointer or usual.refresh_token,
        expires_in=told.expires_in_pointer or usual.expires_in,
        scope=told.scope_pointer or usual.scope,
        token_type=told.token_type_pointer or usual.token_type,
        configuration=dict(told.config_variables),
    )


def _oauth1(told: pb.OAuth1) -> OAuth1:
    return OAuth1(
        told.request_token_url,
        told.authorization_url,
        told.access_token_url,
        _SIGNATURES[told.signature_method],
        told.realm,
    )


def _assertion(told: pb.JwtAssertion) -> Assertion:
    return Assertion(
        algorithm=_ALGORITHMS[told.algorithm],
        issuer=told.issuer,
        subject=told.subject,
        audience=told.audience,
        key=told.key_field or PRIVATE_KEY,
        key_id=told.key_id,
        seconds=_seconds(told.lifetime) or ASSERTION_SECONDS,
        claims=dict(told.claims),
    )


def _role(told: pb.AwsSigV4) -> Part:
    role = told.assume_role
    asked = (Field(ROLE_ARN, "Role ARN", secret=False),) if not role.role_arn else ()
    fields = (
        *asked,
        Field(EXTERNAL_ID, "External ID", secret=False, optional=True),
        # Without them the integration's client asks.
        Field(ACCESS_KEY_ID, "Access key ID", secret=False, optional=True),
        Field(SECRET_ACCESS_KEY, "Secret access key", optional=True),
    )
    arn = role.role_arn or f"{{{ROLE_ARN}}}"
    made = Role(arn, told.region, role.endpoint, _seconds(role.lifetime) or ROLE_SECONDS)
    return Part("", "aws_role", fields, role=made)


def _login(told: pb.SessionLogin) -> Login:
    token = told.token_pointer
    if told.WhichOneof("token") == "token_header":
        token = f"header:{told.token_header}"
    elif told.WhichOneof("token") == "token_cookie":
        token = f"cookie:{told.token_cookie}"
    return Login(
        method=told.method,
        url=told.url,
        headers=dict(told.headers),
        body=dict(told.body),
        encoding="form" if told.encoding == pb.BODY_ENCODING_FORM else "json",
        token=token,
        expires_in=told.expires_in_pointer,
        seconds=_seconds(told.lifetime),
    )
