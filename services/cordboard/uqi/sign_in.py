"""What a person fills in for an auth scheme, of every kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.uqi.fields import Field, FieldTexts, Kind, Secret, Text
from cordboard.uqi.texts import clean

LONGEST_VALUE: Final = 16_384
_TITLE: Final = 200
_DESCRIPTION: Final = 2_000


def sign_in_fields(scheme: pb.AuthScheme, schemes: Mapping[str, pb.AuthScheme]) -> tuple[Field, ...]:
    """Returns the fields of a scheme, those that the definition adds first; a combination has its parts', by name."""
    if scheme.WhichOneof("kind") != "all_of":
        return _merged(scheme, _of_kind(scheme))
    parts = (schemes[each] for each in scheme.all_of.auth_schemes if each in schemes)
    return tuple(_part_of(part.id, field) for part in parts for field in _merged(part, _of_kind(part)))


def typed(name: str, title: str, kind: Kind, *, least: int = 1, required: bool = True) -> Field:
    """Returns a field for a text that a person types in."""
    constraints = {"minLength": least} if least and required else {}
    return Field(
        name,
        name,
        kind,
        (name,),
        title,
        required=required,
        constraints={**constraints, "maxLength": LONGEST_VALUE},
        id=name,
    )


def _part_of(part: str, field: Field) -> Field:
    name = f"{part}.{field.name}"
    key = "".join(letter if letter.isalnum() else "_" for letter in name)
    return replace(field, name=name, key=key, path=(name,), id=key)


def _merged(scheme: pb.AuthScheme, own: Sequence[Field]) -> tuple[Field, ...]:
    told = {each.name: each for each in scheme.fields}
    known = {field.name for field in own}
    more = [_added(each) for each in scheme.fields if each.name not in known]
    return (*more, *(_described(field, told.get(field.name)) for field in own))


def _described(field: Field, told: pb.AuthField | None) -> Field:
    if told is None:
        return field
    title = clean(told.title, _TITLE) or field.title
    return replace(field, title=title, description=clean(told.description, _DESCRIPTION), translations=_texts(told))


def _added(told: pb.AuthField) -> Field:
    kind = Text(multiline=told.multiline) if told.plain else Secret()
    field = typed(told.name, clean(told.title, _TITLE) or told.name, kind, required=not told.optional)
    return replace(field, description=clean(told.description, _DESCRIPTION), translations=_texts(told))


def _texts(told: pb.AuthField) -> tuple[FieldTexts, ...]:
    return tuple(
        FieldTexts(each.language, clean(each.title, _TITLE), clean(each.description, _DESCRIPTION))
        for each in told.translations
    )


def _of_kind(scheme: pb.AuthScheme) -> tuple[Field, ...]:
    match scheme.WhichOneof("kind"):
        case "api_key":
            return (typed("api_key", "API key", Secret()),)
        case "basic":
            return _user(scheme.basic.username_title, scheme.basic.password_title)
        case "digest":
            return _user(scheme.digest.username_title, scheme.digest.password_title)
        case "bearer":
            return (typed("token", clean(scheme.bearer.token_title, _TITLE) or "Token", Secret()),)
        case "client_credentials":
            told = scheme.client_credentials
            public = told.grant.client_authentication == pb.CLIENT_AUTHENTICATION_NONE
            key = told.grant.client_authentication == pb.CLIENT_AUTHENTICATION_PRIVATE_KEY_JWT
            secret = clean(told.client_secret_title, _TITLE) or ("Private key" if key else "Client secret")
            return (
                typed("client_id", clean(told.client_id_title, _TITLE) or "Client ID", Text()),
                typed("client_secret", secret, Secret(), required=not public),
            )
        case "jwt_bearer":
            return (_key(scheme.jwt_bearer.assertion),)
        case "signed_jwt":
            return (_key(scheme.signed_jwt.assertion),)
        case "aws_sigv4" if scheme.aws_sigv4.HasField("assume_role"):
            asked = (typed("role_arn", "Role ARN", Text()),) if not scheme.aws_sigv4.assume_role.role_arn else ()
            return (
                *asked,
                typed("external_id", "External ID", Text(), required=False),
                typed("access_key_id", "Access key ID", Text(), required=False),
                typed("secret_access_key", "Secret access key", Secret(), required=False),
            )
        case "aws_sigv4":
            return (
                typed("access_key_id", "Access key ID", Text()),
                typed("secret_access_key", "Secret access key", Secret()),
                typed("session_token", "Session token", Secret(), required=False),
            )
        case "mtls":
            return (
                typed("client_certificate", "Client certificate", Text(multiline=True)),
                typed("private_key", "Private key", Secret()),
            )
        case _:
            return ()


def _user(username: str, password: str) -> tuple[Field, ...]:
    # Some vendors take a key for the user name, and no password.
    return (
        typed("username", clean(username, _TITLE) or "User name", Text()),
        typed("password", clean(password, _TITLE) or "Password", Secret(), least=0),
    )


def _key(assertion: pb.JwtAssertion) -> Field:
    shared = assertion.algorithm in (pb.JWT_ALGORITHM_HS256, pb.JWT_ALGORITHM_HS512)
    return typed(assertion.key_field or "private_key", "Secret" if shared else "Private key", Secret())
