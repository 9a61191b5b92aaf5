"""What somebody wants to connect, and what a session of it begins with."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.configurations import secret_field
from cordboard.auth.fields import a_title, a_web_page, an_id, an_origin
from cordboard.auth.forms import typed
from cordboard.auth.oauth import is_scope
from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.definitions import Definition
    from cordboard.auth.schemes import Scheme
    from cordboard.auth.store.connections import ConnectionRow

SHORTEST_BINDING: Final = 32
LONGEST_BINDING: Final = 256
Secrets = Mapping[str, Secret[str]]


@dataclass(frozen=True)
class Wish:
    """What somebody wants to connect. Empty text stands for what was not said."""

    workspace: str
    integration: str
    auth_scheme: str = ""
    environment: str = ""
    connection_id: str = ""
    display_name: str = ""
    scopes: tuple[str, ...] = ()
    configuration: Mapping[str, str] | None = None
    secret_configuration: Mapping[str, str] = field(default_factory=dict, repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What a person typed in, for a scheme that needs it before the person consents."""
    browser: Secret[str] = field(default_factory=lambda: Secret(""))
    """What the browser that comes back has to bring."""
    return_url: str = ""
    origin: str = ""
    link: str = ""
    """The link whose page began it."""


def an_own_id(integration: str) -> str:
    """Returns an id for a connection that nobody has named, short enough to be one."""
    return f"{integration[:50].rstrip('-')}-{secrets.token_hex(5)}"


def wrong_way_back(wish: Wish) -> list[Violation]:
    """Checks where a browser is sent, who is told, and what the browser brings."""
    wrong = a_web_page(wish.return_url, "return_url") + an_origin(wish.origin, "origin")
    length = len(wish.browser.reveal())
    if length and not SHORTEST_BINDING <= length <= LONGEST_BINDING:
        text = f"must be {SHORTEST_BINDING} to {LONGEST_BINDING} characters that nobody can guess"
        wrong.append(Violation("browser_binding", text))
    return wrong


def wrong_scopes(scopes: tuple[str, ...], scheme: Scheme) -> list[Violation]:
    """Checks the scopes that are asked for: each is one of the scheme's."""
    if scopes and scheme.oauth is None:
        return [Violation("scopes", "must be empty: this scheme knows no scopes")]
    known = scheme.oauth.scopes if scheme.oauth else frozenset[str]()
    return [
        Violation(f"scopes[{index}]", "is not a scope of this integration")
        for index, scope in enumerate(scopes)
        if not is_scope(scope) or (known and scope not in known)
    ]


def settled(
    wish: Wish,
    known: ConnectionRow | None,
    environment: str,
    definition: Definition,
    scheme: Scheme,
    elsewhere: Collection[str],
) -> dict[str, Any]:
    """Returns the values of a session: what was wished for, then what the connection has, then the defaults.

    Raises InvalidFields with everything that is wrong.
    """
    chosen = wish.environment or (known.environment if known else environment)
    configuration = wish.configuration or (known.configuration if known else {})
    wrong = a_title(wish.display_name, "display_name")
    if not chosen:
        wrong.append(Violation("environment", "is required: the caller has none of its own", "REQUIRED"))
    elif wish.environment:
        wrong += an_id(wish.environment, "environment")
    if known is not None and chosen != known.environment:
        wrong.append(Violation("environment", "is not the one of the connection that is to be connected again"))
    if wish.connection_id:
        wrong += an_id(wish.connection_id, "connection_id")
    if known is not None and known.integration != wish.integration:
        wrong.append(Violation("connection_id", "is the id of a connection to another integration"))
    wrong += wrong_scopes(wish.scopes, scheme)
    wrong += definition.wrong_configuration(configuration, wish.secret_configuration, elsewhere)
    wrong += wrong_way_back(wish)
    if wrong:
        raise InvalidFields(wrong)
    return {
        "workspace_id": wish.workspace,
        "integration": wish.integration,
        "auth_scheme": scheme.id,
        "kind": scheme.kind,
        "environment": chosen,
        "connection_id": wish.connection_id or an_own_id(wish.integration),
        "display_name": wish.display_name or (known.display_name if known else ""),
        "scopes": list(wish.scopes or (scheme.oauth.default_scopes if scheme.oauth else ())),
        "configuration": dict(configuration),
        "return_url": wish.return_url,
        "origin": wish.origin,
        "link_id": wish.link,
    }


def wished_inputs(wish: Wish, scheme: Scheme) -> Secrets:
    """Returns what was typed in with a wish, by field; raises InvalidFields."""
    given = {secret_field(name): Secret(value) for name, value in wish.secret_configuration.items()}
    if scheme.interactive:
        return {**given, **typed(scheme, wish.values)}
    if wish.values:
        raise InvalidFields([Violation("values", "must be empty: this scheme takes them by SubmitConnectSession")])
    return given
