"""Refusals and misreadings whose fault lies with a description or with the judge, each looked into by a person."""

from __future__ import annotations

import re
from typing import Final

_FAULTS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "atlassian.com__jira.json",
        "Additional properties are not allowed",
        "the schema requires a member that it forbids: nothing satisfies it",
    ),
    (
        "atlassian.com__jira.json",
        "is not of type 'array'",
        "the form is a list of parts without names: no form can be read as one",
    ),
    (
        "atlassian.com__jira.json",
        r"properties\.\d+ must be object",
        "names are described as objects without members; no style says how an object stands in a list of a query",
    ),
    (
        "box.com__platform.json",
        r"mdfilters\.\d+ must be object",
        "the list is sent as one JSON text, as Box takes it; no style says how an object stands in a list of a query",
    ),
    (
        "box.com__platform.json",
        "'grant_type' is a required property",
        "the schema requires a member that it does not describe, and the judge drops what is not described",
    ),
    (
        "discord.com__main.json",
        "oneOf: .* is not valid under any|'layout_type': .* is not valid under any",
        "the schema is one of an empty list of alternatives",
    ),
    (
        "discord.com__main.json",
        "sku_ids: .* is read as",
        "it is a text or a list: on the wire a list of one looks like the text",
    ),
    ("googleapis.com__", r"the whole: type: b'", "an upload of bytes is described as an object"),
    ("intercom.io__v2.11.yaml", "is not a 'uuid'", "it has to be a UUID of at most 24 characters"),
    ("intercom.io__v2.11.yaml", "Missing required query parameter: filter", "the judge reads no exploded objects"),
    ("notion.com__ppc.json", "'content-type'", "a request without a body has no Content-Type, whatever is declared"),
    (
        "openai.com__main.json",
        r"could not be resolved|input: oneOf: ",
        "a discriminator names a schema that does not exist",
    ),
    (
        "stripe.com__api.yaml",
        r"required property '(default_)?allowed_updates'",
        "a form cannot say that a list is empty",
    ),
    ("telegram.org__bot.json", "reply_markup: anyOf: ", "the judge does not read JSON in the parts of a form"),
    ("xero.com__accounting.json", "the whole: type: b'", "a file is described as a text"),
    ("xero.com__accounting.json", "Quotes/#/Contact: type: ", "the judge minds what stands beside $ref in OpenAPI 3.0"),
)


def known_fault(document: str, reason: str) -> str:
    """Returns whose fault a refusal or a misreading is, and why; an empty text where nobody knows of one."""
    for prefix, pattern, why in _FAULTS:
        if document.startswith(prefix) and re.search(pattern, reason):
            return why
    return ""
