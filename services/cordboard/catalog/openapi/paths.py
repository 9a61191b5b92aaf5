"""Path templates: what a request's path is, and which parameters it names, however they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

if TYPE_CHECKING:
    from cordboard.catalog.openapi.report import Report

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_EXPRESSION: Final = re.compile(r"([+#./;?&]?)([^=:*]*)(.*)", re.DOTALL)
_COLON: Final = re.compile(r"(?<=/):([A-Za-z_][A-Za-z0-9_]*)")
# What may stand in a path as it is, beside letters and digits (RFC 3986 section 3.3).
_SAFE: Final = "/-._~!$&'()*+,;=:@|^[]%"


@dataclass
class Template:
    """A path below the server, and what was taken out of it."""

    path: str
    names: dict[str, bool] = field(default_factory=dict)
    """The placeholders, each with whether its value may hold reserved characters such as `/`."""
    query: dict[str, str] = field(default_factory=dict)
    """What a query string in the path fixes."""
    query_names: list[str] = field(default_factory=list)
    """The parameters of a query string in the path."""
    origin: str = ""
    """The server, where the path is a whole URL."""


def read_template(key: str, declared: set[str], pointer: str, report: Report) -> Template:
    """Returns the template of a key of `paths`; `declared` are the names of its path parameters."""
    template = Template("")
    text = key.strip()
    if text.startswith(("http://", "https://")) and "{" not in urlsplit(text).netloc:
        parts = urlsplit(text)
        template.origin = f"{parts.scheme}://{parts.netloc}"
        text = text[len(template.origin) :]
        report.repair(pointer, "the path is a whole URL; its server is the operation's own")
    text, hash_sign, _ = text.partition("#")
    if hash_sign:
        report.repair(pointer, "what follows `#` is no part of a path; it was cut off")
    text = _take_query(text, template, pointer, report)
    text = _COLON.sub(lambda found: f"{{{found[1]}}}" if found[1] in declared else found[0], text)
    if not text.startswith("/"):
        report.repair(pointer, "the path has no `/` before it")
        text = f"/{text}"
    while text.startswith("//"):
        text = text[1:]
    template.path = _quoted(_PLACEHOLDER.sub(lambda found: _placeholder(found[1], template), text), template)
    return template


def _placeholder(inside: str, template: Template) -> str:
    """Returns a placeholder in its plain form; RFC 6570 and Google's forms carry more than a name."""
    found = _EXPRESSION.fullmatch(inside)
    operator, names, rest = (found[1], found[2], found[3]) if found else ("", inside, "")
    listed = [name.strip() for name in names.split(",")] if operator in ("?", "&") else [names]
    if operator in ("?", "&"):
        template.query_names.extend(name for name in listed if name)
        return ""
    name = listed[0]
    # `{+name}`, `{name=projects/*}`: the value has slashes of its own.
    template.names[name] = template.names.get(name, False) or operator == "+" or rest.startswith("=")
    return f"{{{name}}}"


def _take_query(text: str, template: Template, pointer: str, report: Report) -> str:
    """Takes the query string off a path. A `?` inside braces belongs to a placeholder."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if character != "?" or depth > 0:
            continue
        for name, value in parse_qsl(text[index + 1 :], keep_blank_values=True):
            whole = _PLACEHOLDER.fullmatch(value)
            if whole or "{" in value or "{" in name:
                template.query_names.append((whole[1] if whole and name.startswith("{") else name).strip("{}"))
            else:
                template.query[name] = value
        report.repair(pointer, "the query string in the path became parameters")
        return text[:index]
    return text


def _quoted(path: str, template: Template) -> str:
    """Returns a path with everything percent-encoded that a path cannot hold, placeholders aside."""
    pieces = []
    at = 0
    for found in _PLACEHOLDER.finditer(path):
        pieces += [_quote(path[at : found.start()]), found[0]]
        at = found.end()
    pieces.append(_quote(path[at:]))
    template.names.pop("", None)
    return "".join(pieces)


def _quote(text: str) -> str:
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(text, safe=_SAFE))
