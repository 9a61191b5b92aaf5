"""Who may call: the security schemes of a document become auth schemes, and its requirements a choice among them.

Where an operation needs several things at once, a combination of their schemes is one more auth scheme.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from cordboard.catalog.openapi.combinations import Combinations, place_of
from cordboard.catalog.openapi.source import Unresolved, join, mapping, sequence, text
from cordboard.catalog.syntax import RESERVED_HEADERS, is_line, is_scope, is_token, url_problem
from cordboard.catalog.v1.definition_pb2 import (
    ApiKey,
    AuthScheme,
    Basic,
    Bearer,
    ClientCertificate,
    ClientCredentials,
    Digest,
    NoAuth,
    OAuth2,
    OAuth2Scope,
    Placement,
    TokenGrant,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.source import Source

MAX_DESCRIPTION: Final = 2000
# With more scopes than this, asking for all of them by default would ask for too much.
MAX_DEFAULT_SCOPES: Final = 12

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_SAYS_BEARER: Final = re.compile(r"\bbearer\b", re.IGNORECASE)
_SECRET: Final = re.compile(r"token|secret|password", re.IGNORECASE)
_PLACES: Final = {
    "header": Placement.PLACEMENT_HEADER,
    "query": Placement.PLACEMENT_QUERY,
    "cookie": Placement.PLACEMENT_COOKIE,
}
# Which one stays of several that go to the same place.
_RANK: Final = ("oauth2", "client_credentials", "bearer", "basic", "digest", "api_key", "mtls")

# The names of security schemes that are needed at once, each with the OAuth scopes that it has to have.
_Needed = dict[str, list[str]]


@dataclass(frozen=True)
class Requirement:
    """What one operation needs."""

    schemes: tuple[str, ...] = ()
    """The ids of the auth schemes of which one is enough; empty: any of the definition's."""
    scopes: tuple[str, ...] = ()
    """The OAuth scopes it needs."""
    sent: tuple[ApiKey, ...] = ()
    """The API keys that a connection may send with it."""

    def sends(self, name: str, placement: int) -> bool:
        """Tells whether a parameter is what a connection sends anyway."""
        ignores_case = placement == Placement.PLACEMENT_HEADER
        return any(
            key.placement == placement and (key.name == name or (ignores_case and key.name.lower() == name.lower()))
            for key in self.sent
        )


@dataclass
class _Known:
    """A security scheme that became an auth scheme."""

    scheme: AuthScheme
    is_code_flow: bool = True
    pasted: AuthScheme | None = None
    """The way around the code flow: a token that the vendor's own pages gave, pasted by a person."""
    used: set[str] = field(default_factory=set)


class Security:
    """The security schemes of one document."""

    def __init__(self, source: Source, report: Report, source_uri: str) -> None:
        """Takes the document, where findings go, and what relative URLs are relative to."""
        self._source = source
        self._report = report
        self._source_uri = source_uri
        self._known: dict[str, _Known] = {}
        self._declared: dict[str, Any] = {}
        self._combinations = Combinations(self._id)
        self._alone: set[str] = set()

    def settle(self, base_url: str) -> None:
        """Reads the schemes; `base_url` is the first server, which relative URLs are resolved against."""
        base = self._source_uri or base_url
        pointer = "/components/securitySchemes"
        self._declared = mapping(mapping(self._source.root.get("components")).get("securitySchemes"))
        for name, declared in self._declared.items():
            here = join(pointer, name)
            try:
                found, _ = self._source.follow(declared, here)
            except Unresolved as problem:
                self._report.loss(here, str(problem))
                continue
            self._read(name, mapping(found), here, base)

    def schemes(self) -> list[AuthScheme]:
        """Returns the auth schemes; one that asks for nothing where the document has none that can be used."""
        schemes = []
        for known in self._known.values():
            self._choose_default_scopes(known)
            schemes += [known.scheme] if known.pasted is None else [known.scheme, known.pasted]
        self._combinations.tell_parts(schemes, frozenset(self._alone), MAX_DESCRIPTION)
        return [*self._combinations.schemes, *schemes] or [
            AuthScheme(id="none", title="No authentication", none=NoAuth())
        ]

    @property
    def has_any(self) -> bool:
        """Tells whether the document has a scheme that can be used."""
        return bool(self._known)

    def requirement(self, operation: dict[str, Any], pointer: str, asked: Collection[tuple[str, int]]) -> Requirement:
        """Returns what an operation needs; its own requirements replace the document's.

        `asked` are the names and places of the parameters that it requires.
        """
        own = operation.get("security")
        where = join(pointer, "security") if isinstance(own, list) else "/security"
        declared = own if isinstance(own, list) else sequence(self._source.root.get("security"))
        alternatives = [self._alternative(mapping(one), where) for one in declared if isinstance(one, dict)]
        usable = [one for one in alternatives if one is not None]
        scopes = next((found for one in usable if (found := self._scopes(one))), ())
        if not usable or any(not one for one in usable):
            # One of the alternatives is to need nothing: whatever a connection has is fine.
            self._alone.update(self._ids(self._known))
            return Requirement(scopes=scopes, sent=self._keys(self._known))
        usable = [self._placeable(one, where) for one in self._asked_together(usable, asked, where)]
        names = list(dict.fromkeys(name for one in usable for name in one))
        single = list(dict.fromkeys(name for one in usable if len(one) == 1 for name in one))
        self._alone.update(self._ids(single))
        if len(single) == len(self._known):
            return Requirement((), scopes, self._keys(names))
        ids = [each for one in usable for each in (self._ids(one) if len(one) == 1 else self._together(one))]
        return Requirement(tuple(dict.fromkeys(ids)), scopes, self._keys(names))

    def beyond(self, schemes: Collection[str]) -> list[str]:
        """Returns the combinations with which can be called what can be called with one of these schemes."""
        return self._combinations.beyond(schemes)

    def _asked_together(self, usable: list[_Needed], asked: Collection[tuple[str, int]], pointer: str) -> list[_Needed]:
        """Joins API keys that are declared as a choice, and required one and all as parameters."""
        places = {(name.lower() if place == Placement.PLACEMENT_HEADER else name, place) for name, place in asked}
        joined = [one for one in usable if len(one) == 1 and self._is_asked(next(iter(one)), places)]
        if len(joined) < 2:
            return usable
        named = " and ".join(repr(name) for one in joined for name in one)
        self._report.repair(pointer, f"{named} are a choice, but all of them required parameters: all are sent")
        return [
            {name: scopes for one in joined for name, scopes in one.items()},
            *(o for o in usable if o not in joined),
        ]

    def _is_asked(self, name: str, places: Collection[tuple[str, int]]) -> bool:
        scheme = self._known[name].scheme
        place = place_of(scheme)
        return scheme.HasField("api_key") and place is not None and (place[1], place[0]) in places

    def _placeable(self, needed: _Needed, pointer: str) -> _Needed:
        """Returns what is needed without what would go where another part of it goes."""
        taken: dict[tuple[int, str], str] = {}
        lost: set[str] = set()
        for name in sorted(needed, key=self._rank):
            scheme = self._known[name].scheme
            place = place_of(scheme)
            other = taken.setdefault(place, name) if place is not None else name
            if other == name:
                continue
            lost.add(name)
            if scheme.HasField("oauth2") and self._known[other].scheme.HasField("oauth2"):
                self._report.note(pointer, "several OAuth schemes are asked for at once; one of them is enough")
            else:
                self._report.repair(pointer, f"{name!r} goes where {other!r} goes; it is left out")
        return {name: scopes for name, scopes in needed.items() if name not in lost}

    def _together(self, needed: _Needed) -> list[str]:
        """Returns the ids of the combinations of these: with each way to the token where there is more than one."""
        parts = [self._known[name] for name in needed]
        ways = [[known.scheme for known in parts]]
        if any(known.pasted is not None for known in parts):
            ways.append([known.pasted or known.scheme for known in parts])
        return [self._combinations.of(way) for way in ways]

    def _ids(self, names: Iterable[str]) -> tuple[str, ...]:
        known = [self._known[name] for name in names]
        return tuple(scheme.id for each in known for scheme in (each.scheme, each.pasted) if scheme is not None)

    def _keys(self, names: Iterable[str]) -> tuple[ApiKey, ...]:
        schemes = [self._known[name].scheme for name in names]
        return tuple(scheme.api_key for scheme in schemes if scheme.HasField("api_key"))

    def _rank(self, name: str) -> tuple[int, bool]:
        scheme = self._known[name].scheme
        # Of two keys, the one that is called a secret is.
        return _RANK.index(scheme.WhichOneof("kind") or ""), _SECRET.search(scheme.api_key.name or name) is None

    def _alternative(self, declared: dict[str, Any], pointer: str) -> _Needed | None:
        """Returns the schemes and scopes of one alternative, or None when one of them cannot be used."""
        needed: _Needed = {}
        for name, scopes in declared.items():
            if name not in self._known:
                if name not in self._declared:
                    self._report.repair(pointer, f"the security scheme {name!r} does not exist")
                return None
            needed[name] = [one for one in map(text, sequence(scopes)) if is_scope(one)]
            self._known[name].used.update(needed[name])
        oauth = [name for name in needed if self._known[name].scheme.HasField("oauth2")]
        paste = [name for name in needed if not self._known[name].is_code_flow]
        if oauth and paste and len(oauth) + len(paste) == len(needed):
            # The flows of one authorization server, declared as several schemes that are needed at once.
            for name in paste:
                del needed[name]
        return needed

    def _scopes(self, needed: _Needed) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                scope
                for name, scopes in needed.items()
                if self._known[name].scheme.HasField("oauth2")
                for scope in scopes
            )
        )

    def _choose_default_scopes(self, known: _Known) -> None:
        if not known.scheme.HasField("oauth2"):
            return
        oauth2 = known.scheme.oauth2
        named = [scope.name for scope in oauth2.scopes]
        for scope in sorted(known.used.difference(named)):
            oauth2.scopes.append(OAuth2Scope(name=scope))
            named.append(scope)
        wanted = [name for name in named if name in known.used] or named
        if 0 < len(wanted) <= MAX_DEFAULT_SCOPES:
            oauth2.default_scopes.extend(wanted)

    def _read(self, name: str, declared: dict[str, Any], pointer: str, base: str) -> None:
        scheme = AuthScheme(id=self._id(name), title=name[:200] if is_line(name) else "")
        scheme.description = _prose(text(declared.get("description")))
        known = _Known(scheme)
        kind = text(declared.get("type")).lower()
        if kind == "oauth2":
            self._oauth2(known, declared, pointer, base)
        elif kind == "openidconnect":
            self._paste(known, pointer, "OpenID Connect discovery is not followed: a token is pasted instead")
        elif kind == "apikey":
            self._api_key(scheme, declared, pointer)
        elif kind == "http":
            self._http(scheme, declared, pointer)
        elif kind == "mutualtls":
            scheme.mtls.CopyFrom(ClientCertificate())
        else:
            self._report.loss(pointer, f"security of the type {kind or 'without a name'!r} is not supported")
        if scheme.WhichOneof("kind") is not None:
            self._known[name] = known

    def _oauth2(self, known: _Known, declared: dict[str, Any], pointer: str, base: str) -> None:
        flow = mapping(mapping(declared.get("flows")).get("authorizationCode"))
        urls = {key: _absolute(text(flow.get(key)), base) for key in ("authorizationUrl", "tokenUrl")}
        if not flow or not all(urls.values()):
            if self._client_credentials(known, declared, base):
                return
            present = ", ".join(sorted(mapping(declared.get("flows")))) or "none"
            self._paste(known, pointer, f"there is no usable authorization code flow ({present}): a token is pasted")
            return
        oauth2 = OAuth2(authorization_url=urls["authorizationUrl"], token_url=urls["tokenUrl"])
        for scope, description in mapping(flow.get("scopes")).items():
            if is_scope(scope):
                oauth2.scopes.append(OAuth2Scope(name=scope, description=text(description)[:500]))
            else:
                self._report.repair(pointer, f"{scope[:100]!r} cannot be an OAuth scope and was left out")
        known.scheme.oauth2.CopyFrom(oauth2)
        # An access token is a bearer token (RFC 6750) however it was got, and many vendors hand them out on a page.
        known.pasted = AuthScheme(id=self._id(f"{known.scheme.id}_token"), title="Access token", bearer=Bearer())

    def _client_credentials(self, known: _Known, declared: dict[str, Any], base: str) -> bool:
        """Tells whether a client's own credentials get a token, and says in the scheme how."""
        flow = mapping(mapping(declared.get("flows")).get("clientCredentials"))
        token_url = _absolute(text(flow.get("tokenUrl")), base)
        if not token_url:
            return False
        scopes = [scope for scope in mapping(flow.get("scopes")) if is_scope(scope)]
        grant = TokenGrant(token_url=token_url, scopes=scopes if len(scopes) <= MAX_DEFAULT_SCOPES else ())
        known.scheme.client_credentials.CopyFrom(ClientCredentials(grant=grant))
        known.pasted = AuthScheme(id=self._id(f"{known.scheme.id}_token"), title="Access token", bearer=Bearer())
        return True

    def _paste(self, known: _Known, pointer: str, text_: str) -> None:
        self._report.note(pointer, text_)
        known.is_code_flow = False
        known.scheme.bearer.CopyFrom(Bearer())

    def _api_key(self, scheme: AuthScheme, declared: dict[str, Any], pointer: str) -> None:
        name, place = text(declared.get("name")), _PLACES.get(text(declared.get("in")).lower())
        if not name or place is None or (place != Placement.PLACEMENT_QUERY and not is_token(name)):
            self._report.loss(pointer, "the API key has no name or no place that a request has")
            return
        if place == Placement.PLACEMENT_HEADER and name.lower() == "authorization":
            if _SAYS_BEARER.search(scheme.description):
                self._report.note(pointer, "the description says Bearer: it is sent as a bearer token")
                scheme.bearer.CopyFrom(Bearer())
                return
        elif place != Placement.PLACEMENT_QUERY and name.lower() in RESERVED_HEADERS:
            self._report.loss(pointer, f"an API key cannot go into {name!r}")
            return
        scheme.api_key.CopyFrom(ApiKey(placement=place, name=name))

    def _http(self, scheme: AuthScheme, declared: dict[str, Any], pointer: str) -> None:
        kind = text(declared.get("scheme")).lower()
        if kind == "basic":
            scheme.basic.CopyFrom(Basic())
        elif kind == "bearer":
            scheme.bearer.CopyFrom(Bearer())
        elif kind == "digest":
            scheme.digest.CopyFrom(Digest())
        else:
            self._report.loss(pointer, f"HTTP authentication of the kind {kind or 'without a name'!r} is not supported")

    def _id(self, name: str) -> str:
        wanted = _UNSAFE.sub("_", name).strip("_.-")[:56]
        if not wanted or not wanted[0].isalpha():
            wanted = f"scheme_{wanted}".rstrip("_")
        taken = {
            scheme.id for known in self._known.values() for scheme in (known.scheme, known.pasted) if scheme is not None
        } | {scheme.id for scheme in self._combinations.schemes}
        chosen, number = wanted, 1
        while chosen in taken:
            number += 1
            chosen = f"{wanted}_{number}"
        return chosen


def _absolute(url: str, base: str) -> str:
    if url and "://" not in url and base:
        url = urljoin(base + "/", url)
    url = url.partition("#")[0]
    return "" if url_problem(url, base=False) else url


def _prose(value: str) -> str:
    return "".join(character for character in value if character >= " " or character in "\n\t")[:MAX_DESCRIPTION]
