"""The form model: a tree of typed fields, with no word of any client in it. Projections and binding read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from cordboard.uqi.conditions import Condition

Scalar: TypeAlias = str | int | float | bool
# JSON Schema keywords as they stand. Never changed once in a field.
Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    multiline: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A number, whole or not."""


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """Yes or no."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, a time or both, as ISO 8601 text."""

    part: Literal["date", "time", "date-time"]


@dataclass(frozen=True, slots=True)
class Option:
    """A value that can be chosen, and what people call it."""

    value: Scalar
    title: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values."""

    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class MultiChoice:
    """Any number of a few values, as a list."""

    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """An object with fields of its own; an `open` one takes other members too."""

    fields: tuple[Field, ...]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list of values of one kind."""

    item: Field


@dataclass(frozen=True, slots=True)
class Entries:
    """An object with free keys and values of one kind."""

    value: Field


@dataclass(frozen=True, slots=True)
class Json:
    """Anything that has one of the JSON Schema `types`; of any type when there are none. People fill in JSON text."""

    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """Bytes, as base64 text: of these media types and endings (none: any), and of so many bytes at most (0: any)."""

    accept: tuple[str, ...] = ()
    max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Secret:
    """A string that is never shown again."""


@dataclass(frozen=True, slots=True)
class Union:
    """A value of one of several shapes. `tag` names the member that tells which, where there is one.

    A variant is a field: its key is the variant's id, its kind the shape.
    """

    variants: tuple[Field, ...]
    tag: str = ""


Kind: TypeAlias = (
    Text
    | Number
    | Integer
    | Boolean
    | Moment
    | Choice
    | MultiChoice
    | Group
    | Items
    | Entries
    | Json
    | File
    | Secret
    | Union
)
# The key of the member that says which variant of a union was chosen, in clients that have no unions.
VARIANT: Final = "variant"


@dataclass(frozen=True, slots=True)
class OptionSource:
    """An action that lists what can be chosen. Pointers are JSON Pointers, into an item of its list.

    `inputs` take values of other fields of the form: property of the action to id of the field.
    """

    action: str
    value_pointer: str
    label_pointer: str = ""
    input_json: str = ""
    inputs: tuple[tuple[str, str], ...] = ()
    search_property: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that may be null, so that "no value" can be told from it."""

    value: Any


@dataclass(frozen=True, slots=True)
class FieldTexts:
    """What is said of a field in another language; what is empty is as in the definition's own.

    `choices` are the titles of options, by the JSON text of their values.
    """

    language: str
    title: str = ""
    description: str = ""
    placeholder: str = ""
    section: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    tab: str = ""


@dataclass(frozen=True, slots=True)
class FormTexts:
    """What is said of a form in another language; what is empty is as in the definition's own."""

    language: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to fill in. `name` is what the API calls it, `key` a safe word for it, unique among its siblings.

    `id` is made of the keys on the way to it, with dots between. `constraints` are the JSON Schema keywords that
    neither the kind nor another attribute says. A field with `active_when` counts only where that holds.
    """

    name: str
    key: str
    kind: Kind
    path: tuple[str, ...]
    title: str
    description: str = ""
    required: bool = False
    nullable: bool = False
    deprecated: bool = False
    default: Given | None = None
    example: str = ""
    constraints: Schema = field(default_factory=dict)
    id: str = ""
    active_when: Condition | None = None
    required_when: Condition | None = None
    placeholder: str = ""
    section: str = ""
    hidden: bool = False
    source: OptionSource | None = None
    translations: tuple[FieldTexts, ...] = ()
    tab: str = ""
    columns: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """The form of an action: the command that stands for it in a query editor."""

    id: str


@dataclass(frozen=True, slots=True)
class Datasource:
    """The form of an auth scheme: its authentication type, and the settings that nobody fills in."""

    authentication_type: str
    fixed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """The form of what a workspace sets for an integration."""


Target: TypeAlias = Command | Datasource | Settings


@dataclass(frozen=True, slots=True)
class FormTree:
    """A form, whole. `constraints` and `shared` are the root's own keywords and the schemas that fields refer to.

    `language` is that of its texts, empty where the definition does not say it.
    """

    title: str
    description: str
    target: Target
    fields: tuple[Field, ...]
    constraints: Schema = field(default_factory=dict)
    shared: Schema = field(default_factory=dict)
    language: str = ""
    translations: tuple[FormTexts, ...] = ()
