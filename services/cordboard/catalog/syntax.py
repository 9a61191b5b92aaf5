"""The small grammars of HTTP and URLs that a definition's texts follow, so that no text changes a request's shape."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,512}", re.ASCII)
_MEDIA_TYPE: Final = re.compile(
    r"[!#$&^_.+0-9A-Za-z-]{1,127}/[!#$&^_.+0-9A-Za-z-]{1,127}"
    r'(?:[ \t]*;[ \t]*[!#$&^_.+0-9A-Za-z-]+=(?:[!#$&^_.+0-9A-Za-z-]+|"[^"\\\x00-\x1f\x7f]*"))*',
    re.ASCII,
)
# Beside the control characters of ASCII and Latin-1: what changes the direction of text, so that people read something
# else than what stands there (CVE-2021-42574); characters of no width but the joiners that scripts need; and line
# separators that some readers take for the end of a line.
_HIDDEN: Final = r"\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
_CONTROL: Final = re.compile(rf"[\x00-\x1f\u2028\u2029{_HIDDEN}]")
_CONTROL_IN_PROSE: Final = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f{_HIDDEN}]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_WORD: Final = re.compile(r"\w+")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_URL_CHARACTERS: Final = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~{}|^]*", re.ASCII)
# Fits wherever a placeholder may stand: in a host, as a port, in a path.
_STAND_IN: Final = "1"

# Set by the transport, by the plan's body, or by the credential; a definition has no say in them (RFC 9110).
RESERVED_HEADERS: Final = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


LINE: Final = "must be one line of text, without hidden characters"


def foreign(text: str) -> str:
    """Returns a remark on the first character of a text that is not ASCII, which may look like one that is."""
    found = next((one for one in text if not one.isascii()), "")
    return f"; {found!r} is {unicodedata.name(found, f'U+{ord(found):04X}')}" if found else ""


def is_token(text: str) -> bool:
    """Tells whether a text can be a header's name (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def is_line(text: str) -> bool:
    """Tells whether a text has no control character, no line break, and no hidden change of direction."""
    return _CONTROL.search(text) is None


def is_prose(text: str) -> bool:
    """Tells whether a text has no control character but line breaks and tabs, and nothing hidden."""
    return _CONTROL_IN_PROSE.search(text) is None


def is_name(text: str) -> bool:
    """Tells whether a text can be the name of a variable or a field, which `{name}` stands for."""
    return _NAME.fullmatch(text) is not None


def without_hidden(text: str) -> str:
    """Returns a text without the characters that `is_prose` refuses."""
    return _CONTROL_IN_PROSE.sub("", text)


def mixed_word(text: str) -> str:
    """Returns the first word that mixes Latin letters with ones of Cyrillic, Greek or Armenian, or an empty text.

    Such a word looks like another one (UTS 39): `Paypal` with a Cyrillic `a`.
    """
    for word in _WORD.findall(text):
        scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in word if not letter.isascii()}
        scripts.update("LATIN" for letter in word if letter.isascii() and letter.isalpha())
        if "LATIN" in scripts and not scripts.isdisjoint(("CYRILLIC", "GREEK", "ARMENIAN")):
            return str(word)
    return ""


def is_scope(text: str) -> bool:
    """Tells whether a text can be an OAuth scope (RFC 6749 section 3.3)."""
    return _SCOPE.fullmatch(text) is not None


def is_media_type(text: str) -> bool:
    """Tells whether a text is a media type (RFC 9110 section 8.3.1)."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def is_pointer(text: str) -> bool:
    """Tells whether a text is a JSON Pointer (RFC 6901)."""
    return _POINTER.fullmatch(text) is not None


def placeholders(template: str) -> list[str]:
    """Returns the names between braces, in order, each as often as it stands there."""
    return _PLACEHOLDER.findall(template)


def has_stray_brace(template: str) -> bool:
    """Tells whether a template has a brace that belongs to no placeholder."""
    rest = _PLACEHOLDER.sub("", template)
    return "{" in rest or "}" in rest


def url_problem(url: str, *, placeholders_allowed: bool = False, base: bool = True) -> str:
    """Returns what keeps a text from being an absolute http(s) URL, or an empty text.

    A base URL has neither query nor fragment. Placeholders stand for any part but the scheme.
    """
    if _URL_CHARACTERS.fullmatch(url) is None:
        return "has characters that a URL cannot have"
    if has_stray_brace(url) or (not placeholders_allowed and "{" in url):
        return "has braces that stand for nothing"
    try:
        parts = urlsplit(_PLACEHOLDER.sub(_STAND_IN, url))
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not url.startswith(("http://", "https://")):
        return "must begin with https:// or http://"
    if not host or host_problem(host.lower() if ":" not in host else f"[{host}]"):
        return "has no valid host"
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    if port == 0:
        return "has no valid port"
    if base and (parts.query or parts.fragment or url.endswith(("?", "#"))):
        return "must have no query and no fragment"
    return ""


def host_problem(host: str) -> str:
    """Returns what keeps a text from being `host` or `host:port`, or an empty text."""
    name, port = split_host(host)
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return "has no valid port"
    if name.startswith("["):
        try:
            ipaddress.IPv6Address(name.strip("[]"))
        except ValueError:
            return "is not a host"
        return ""
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.removesuffix(".").split(".")):
        return "must be a host in lower case, with a port where it is not 443: no scheme, path or wildcard"
    return ""


def split_host(host: str) -> tuple[str, str | None]:
    """Returns the name and the port of `host:port`; the port is None where there is none."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        return name + bracket, rest[1:] if rest.startswith(":") else None
    name, colon, port = host.partition(":")
    return name, port if colon else None


def named_host(url: str) -> str:
    """Returns the host of a URL, which may have placeholders, as `allowed_hosts` has it: with every port but 443."""
    host = host_of(url)
    has_port = "{" not in host or split_host(host)[1] is not None
    return host if has_port or not url.startswith("http://") else f"{host}:80"


def host_of(url: str) -> str:
    """Returns the host of a URL as `allowed_hosts` has it: lower case, with the port where it is not 443.

    A host with placeholders is returned as it is.
    """
    parts = urlsplit(url)
    if "{" in parts.netloc:
        return parts.netloc
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return host if port == 443 else f"{host}:{port}"
