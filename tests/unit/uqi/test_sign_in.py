"""The sign-in forms: what they ask for is what Auth takes, for every kind of scheme."""

from __future__ import annotations

import pytest

from cordboard.auth.declared import schemes_of
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.uqi.fields import Secret
from cordboard.uqi.sign_in import sign_in_fields

KINDS = [field.name for field in pb.AuthScheme.DESCRIPTOR.oneofs_by_name["kind"].fields]
MORE = (
    pb.AuthField(name="email", title="Service account", description="Ends in `.example`.", plain=True),
    pb.AuthField(name="pin", optional=True),
)


def declared() -> dict[str, pb.AuthScheme]:
    """Returns a scheme of every kind, each with two fields of its own."""
    found = {}
    for kind in KINDS:
        scheme = pb.AuthScheme(id=kind)
        getattr(scheme, kind).SetInParent()
        if kind == "all_of":
            scheme.all_of.auth_schemes.extend(["basic", "client_credentials", "oauth2"])
        else:
            scheme.fields.extend(MORE)
        found[kind] = scheme
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_form_asks_for_what_auth_takes(kind: str) -> None:
    schemes = declared()
    asked = sign_in_fields(schemes[kind], schemes)
    taken = schemes_of(schemes.values())[kind].fields
    assert [field.name for field in asked] == list(taken)
    for field in asked:
        told = taken[field.name]
        assert isinstance(field.kind, Secret) is told.secret
        assert field.required is not told.optional
        # A key is a word; the name may have the id of a part before it.
        assert field.key.isidentifier()


def test_the_definition_says_how_a_field_is_called() -> None:
    schemes = declared()
    scheme = schemes["jwt_bearer"]
    scheme.fields.append(pb.AuthField(name="private_key", title="Key file", description="From the console."))
    email, pin, key = sign_in_fields(scheme, schemes)
    assert (email.title, email.description) == ("Service account", "Ends in `.example`.")
    assert (pin.title, pin.required) == ("pin", False)
    assert (key.title, key.description, isinstance(key.kind, Secret)) == ("Key file", "From the console.", True)
