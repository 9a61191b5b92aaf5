"""The form as its canonical document, and back: nothing of the form is lost on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from cordboard.uqi.arrangement import Columns, Part, Section, Tabs, arranged
from cordboard.uqi.conditions import All, Compare, Condition, Either, Not, Operator
from cordboard.uqi.fields import (
    Boolean,
    Choice,
    Command,
    Datasource,
    Entries,
    Field,
    FieldTexts,
    File,
    FormTexts,
    FormTree,
    Given,
    Group,
    Integer,
    Items,
    Json,
    Kind,
    Moment,
    MultiChoice,
    Number,
    Option,
    OptionSource,
    Secret,
    Settings,
    Target,
    Text,
    Union,
)
from cordboard.uqi.hints import inner, walk
from cordboard.uqi.texts import json_text
from cordboard.uqi.together import Count, asked
from cordboard.uqi.v1 import form_pb2 as pb

MODEL_VERSION: Final = 1

_OPERATORS: Final[Mapping[Operator, pb.CompareOperator.ValueType]] = {
    "present": pb.COMPARE_OPERATOR_PRESENT,
    "in": pb.COMPARE_OPERATOR_IN,
    "lt": pb.COMPARE_OPERATOR_LESS,
    "le": pb.COMPARE_OPERATOR_LESS_OR_EQUAL,
    "gt": pb.COMPARE_OPERATOR_GREATER,
    "ge": pb.COMPARE_OPERATOR_GREATER_OR_EQUAL,
}
_NAMES: Final = {number: name for name, number in _OPERATORS.items()}
_COUNTS: Final[Mapping[Count, pb.ConstraintCount.ValueType]] = {
    "some": pb.CONSTRAINT_COUNT_AT_LEAST_ONE,
    "one": pb.CONSTRAINT_COUNT_EXACTLY_ONE,
    "most one": pb.CONSTRAINT_COUNT_AT_MOST_ONE,
    "all": pb.CONSTRAINT_COUNT_ALL,
}


def document(
    tree: FormTree,
    *,
    name: str = "",
    version: str = "",
    wires: Mapping[str, pb.WireBinding] | None = None,
    losses: Sequence[pb.Loss] = (),
) -> pb.FormDocument:
    """Returns the canonical document of a form; `wires` say where inputs go, by their names."""
    found = pb.FormDocument(
        name=name,
        model_version=MODEL_VERSION,
        title=tree.title,
        description=tree.description,
        fields=(_field(field) for field in tree.fields),
        layout=_layout(tree.fields),
        constraints=_constraints(tree),
        option_sources=(_source(field.id, field.source) for field in walk(tree.fields) if field.source is not None),
        residual_schema_json=_json(tree.constraints),
        shared_schemas_json=_json(tree.shared),
        losses=losses,
        language=tree.language,
        languages=_languages(tree),
        translations=(
            pb.FormTranslation(language=each.language, title=each.title, description=each.description)
            for each in tree.translations
        ),
    )
    for field in found.fields:
        if wires and field.wire_name in wires:
            field.wire.CopyFrom(wires[field.wire_name])
    if isinstance(tree.target, Command):
        found.kind = pb.FORM_KIND_ACTION
        found.command.command = tree.target.id
    elif isinstance(tree.target, Settings):
        found.kind = pb.FORM_KIND_SETTINGS
    else:
        found.kind = pb.FORM_KIND_CONNECTION
        found.datasource.authentication_type = tree.target.authentication_type
        found.datasource.fixed.extend(pb.FixedSetting(name=key, value=value) for key, value in tree.target.fixed)
    # Without the version: a form that a new version left as it was is the same form.
    found.revision = hashlib.sha256(found.SerializeToString(deterministic=True)).hexdigest()
    found.version = version
    return found


def read(found: pb.FormDocument) -> FormTree:
    """Returns the form that a document is of."""
    sources = {source.id: _read_source(source) for source in found.option_sources}
    target: Target = Command(found.command.command)
    if found.kind == pb.FORM_KIND_SETTINGS:
        target = Settings()
    if found.kind == pb.FORM_KIND_CONNECTION:
        fixed = tuple((each.name, each.value) for each in found.datasource.fixed)
        target = Datasource(found.datasource.authentication_type, fixed)
    return FormTree(
        title=found.title,
        description=found.description,
        target=target,
        fields=tuple(_read_field(field, (), sources) for field in found.fields),
        constraints=_object(found.residual_schema_json),
        shared=_object(found.shared_schemas_json),
        language=found.language,
        translations=tuple(FormTexts(each.language, each.title, each.description) for each in found.translations),
    )


def _languages(tree: FormTree) -> list[str]:
    every = {each.language for each in tree.translations}
    return sorted(every.union(*({each.language for each in field.translations} for field in walk(tree.fields))))


def _texts(texts: FieldTexts) -> pb.FieldTranslation:
    return pb.FieldTranslation(
        language=texts.language,
        label=texts.title,
        help=texts.description,
        placeholder=texts.placeholder,
        section=texts.section,
        choices=dict(texts.choices),
        tab=texts.tab,
    )


def _read_texts(found: pb.FieldTranslation) -> FieldTexts:
    choices = tuple(sorted(found.choices.items()))
    return FieldTexts(found.language, found.label, found.help, found.placeholder, found.section, choices, found.tab)


def _field(field: Field) -> pb.FormField:
    return pb.FormField(
        id=field.id,
        key=field.key,
        wire_name=field.name,
        type=_type(field.kind),
        label=field.title,
        help=field.description,
        placeholder=field.placeholder,
        example=field.example,
        required=field.required,
        required_when=None if field.required_when is None else _condition(field.required_when),
        active_when=None if field.active_when is None else _condition(field.active_when),
        nullable=field.nullable,
        deprecated=field.deprecated,
        hidden=field.hidden,
        default_json=None if field.default is None else json_text(field.default.value),
        section=field.section,
        option_source=field.id if field.source is not None else "",
        residual_schema_json=_json(field.constraints),
        translations=map(_texts, field.translations),
        tab=field.tab,
        columns=field.columns,
    )


def _read_field(
    found: pb.FormField, parent: tuple[str, ...], sources: Mapping[str, OptionSource], *, variant: bool = False
) -> Field:
    path = parent if variant else (*parent, found.wire_name)
    return Field(
        name=found.wire_name,
        key=found.key,
        kind=_read_type(found.type, path, sources),
        path=path,
        title=found.label,
        description=found.help,
        required=found.required,
        nullable=found.nullable,
        deprecated=found.deprecated,
        default=Given(json.loads(found.default_json)) if found.HasField("default_json") else None,
        example=found.example,
        constraints=_object(found.residual_schema_json),
        id=found.id,
        active_when=_read_condition(found.active_when) if found.HasField("active_when") else None,
        required_when=_read_condition(found.required_when) if found.HasField("required_when") else None,
        placeholder=found.placeholder,
        section=found.section,
        hidden=found.hidden,
        source=sources.get(found.option_source),
        translations=tuple(map(_read_texts, found.translations)),
        tab=found.tab,
        columns=found.columns,
    )


_PLAIN: Final[Mapping[str, Kind]] = {
    "number": Number(),
    "integer": Integer(),
    "boolean": Boolean(),
    "secret": Secret(),
}
_EMPTY: Final = {type(kind): name for name, kind in _PLAIN.items()}


def _type(kind: Kind) -> pb.FieldType:
    if type(kind) in _EMPTY:
        found = pb.FieldType()
        getattr(found, _EMPTY[type(kind)]).SetInParent()
        return found
    match kind:
        case Text(multiline):
            return pb.FieldType(text=pb.TextType(multiline=multiline))
        case Moment(part):
            return pb.FieldType(moment=pb.MomentType(part=part))
        case Choice(options):
            return pb.FieldType(choice=_choices(options))
        case MultiChoice(options):
            return pb.FieldType(choices=_choices(options))
        case Group(fields, is_open):
            return pb.FieldType(group=pb.GroupType(fields=map(_field, fields), open=is_open))
        case Items(item):
            return pb.FieldType(list=pb.ListType(item=_field(item)))
        case Entries(value):
            return pb.FieldType(map=pb.MapType(value=_field(value)))
        case File(accept, max_bytes):
            return pb.FieldType(file=pb.FileType(accept=accept, max_bytes=max_bytes))
        case Union(variants, tag):
            return pb.FieldType(union=pb.UnionType(variants=map(_field, variants), discriminator=tag))
        case _:
            return pb.FieldType(json=pb.JsonType(types=kind.types if isinstance(kind, Json) else ()))


def _read_type(found: pb.FieldType, path: tuple[str, ...], sources: Mapping[str, OptionSource]) -> Kind:
    match found.WhichOneof("kind"):
        case "text":
            return Text(multiline=found.text.multiline)
        case "moment":
            return Moment(found.moment.part)  # type: ignore[arg-type]  # written by `_type` alone
        case "choice":
            return Choice(_options(found.choice))
        case "choices":
            return MultiChoice(_options(found.choices))
        case "group":
            fields = tuple(_read_field(each, path, sources) for each in found.group.fields)
            return Group(fields, open=found.group.open)
        case "list":
            return Items(_read_field(found.list.item, path, sources))
        case "map":
            return Entries(_read_field(found.map.value, path, sources))
        case "union":
            variants = (_read_field(each, path, sources, variant=True) for each in found.union.variants)
            return Union(tuple(variants), found.union.discriminator)
        case "file":
            return File(tuple(found.file.accept), found.file.max_bytes)
        case "json":
            return Json(tuple(found.json.types))
        case name:
            return _PLAIN[str(name)]


def _choices(options: tuple[Option, ...]) -> pb.ChoiceType:
    return pb.ChoiceType(choices=(pb.Choice(value_json=json_text(each.value), label=each.title) for each in options))


def _options(found: pb.ChoiceType) -> tuple[Option, ...]:
    return tuple(Option(json.loads(each.value_json), each.label) for each in found.choices)


def _condition(condition: Condition) -> pb.Condition:
    match condition:
        case All(parts):
            return pb.Condition(all=pb.ConditionList(conditions=map(_condition, parts)))
        case Either(parts):
            return pb.Condition(any=pb.ConditionList(conditions=map(_condition, parts)))
        case Not(part):
            return pb.Condition(**{"not": _condition(part)})  # type: ignore[arg-type]  # a word of Python's own
        case Compare(field, operator, values):
            compare = pb.Compare(field_id=field, operator=_OPERATORS[operator], values_json=map(json_text, values))
            return pb.Condition(compare=compare)


def _read_condition(found: pb.Condition) -> Condition:
    match found.WhichOneof("node"):
        case "all":
            return All(tuple(map(_read_condition, found.all.conditions)))
        case "any":
            return Either(tuple(map(_read_condition, found.any.conditions)))
        case "not":
            return Not(_read_condition(getattr(found, "not")))
        case _:
            values = tuple(json.loads(each) for each in found.compare.values_json)
            return Compare(found.compare.field_id, _NAMES[found.compare.operator], values)


def _source(field: str, source: OptionSource) -> pb.OptionSource:
    return pb.OptionSource(
        id=field,
        action=source.action,
        input_json=source.input_json,
        inputs=dict(source.inputs),
        value_pointer=source.value_pointer,
        label_pointer=source.label_pointer,
        search_property=source.search_property,
    )


def _read_source(found: pb.OptionSource) -> OptionSource:
    return OptionSource(
        action=found.action,
        value_pointer=found.value_pointer,
        label_pointer=found.label_pointer,
        input_json=found.input_json,
        inputs=tuple(sorted(found.inputs.items())),
        search_property=found.search_property,
    )


def _layout(fields: Iterable[Field]) -> list[pb.LayoutNode]:
    """Returns how fields stand together: those of one section under its heading, an object's within its own."""
    return [_node(part) for part in arranged(field for field in fields if not field.hidden)]


def _node(part: Part) -> pb.LayoutNode:
    match part:
        case Section():
            return pb.LayoutNode(section=_section(part))
        case Tabs(tabs):
            return pb.LayoutNode(tabs=pb.LayoutTabs(tabs=map(_section, tabs)))
        case Columns(count, fields):
            return pb.LayoutNode(columns=pb.LayoutColumns(count=count, nodes=map(_node, fields)))
        case field:
            inside = inner(field) if isinstance(field.kind, Group | Union) else ()
            if not inside:
                return pb.LayoutNode(field_id=field.id)
            section = pb.LayoutSection(title=field.title, field_id=field.id, nodes=_layout(inside))
            return pb.LayoutNode(section=section)


def _section(part: Section) -> pb.LayoutSection:
    return pb.LayoutSection(title=part.title, nodes=map(_node, part.parts))


def _constraints(tree: FormTree) -> Iterator[pb.Constraint]:
    yield from _of_object("", tree.fields, tree.constraints)
    for field in walk(tree.fields):
        if isinstance(field.kind, Group):
            yield from _of_object(field.id, field.kind.fields, field.constraints)


def _of_object(object_id: str, fields: tuple[Field, ...], schema: Mapping[str, Any]) -> Iterator[pb.Constraint]:
    ids = {field.name: field.id for field in fields}
    for each in asked(schema, fields):
        groups = (pb.FieldGroup(field_ids=[ids[name] for name in group]) for group in each.groups)
        when = None if each.when is None else _condition(each.when)
        yield pb.Constraint(object_id=object_id, groups=groups, count=_COUNTS[each.count], when=when)


def _json(value: Mapping[str, Any]) -> str:
    return json_text(value) if value else ""


def _object(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text) if text else {}
    return found
