"""A folder of definitions, held against every rule that can be checked without a mesh."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.catalog.compatibility.definitions import breakages
from cordboard.catalog.compatibility.mode import Mode
from cordboard.catalog.definition import problems
from cordboard.catalog.document import read
from cordboard.catalog.examples import example_problems
from cordboard.catalog.extension import merged
from cordboard.catalog.findings import shown
from cordboard.core.errors import DocumentInvalid, InvalidFields, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cordboard.catalog.document import Document
    from cordboard.catalog.v1.definition_pb2 import Definition

READABLE: Final = "readable"
MEANING: Final = "meaning"
BASE: Final = "base"
NAMING: Final = "naming"
OWNERSHIP: Final = "ownership"
REVIEW: Final = "review"
EXAMPLES: Final = "examples"
COMPATIBILITY: Final = "compatibility"
RULES: Final = (READABLE, MEANING, BASE, NAMING, OWNERSHIP, REVIEW, EXAMPLES, COMPATIBILITY)
"""Every rule, in the order in which they are told."""

_ACTION: Final = re.compile(r"(actions|auth_schemes)\[([^\]]+)\]")
_PLACE: Final = re.compile(r" \(line (\d+), column (\d+)\)$|(?: at line (\d+), column (\d+))$")


@dataclass(frozen=True)
class File:
    """A document and what it is called."""

    name: str
    text: str

    @property
    def stem(self) -> str:
        """Returns its name without folder and suffix."""
        return self.name.rpartition("/")[2].rpartition(".")[0]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `line` and `column` count from 1, and are 0 where there is no place."""

    rule: str
    field: str
    text: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Report:
    """What was found in one file."""

    file: str
    slug: str = ""
    actions: int = 0
    examples: int = 0
    findings: tuple[Finding, ...] = ()


def check_files(files: Iterable[File], earlier: Iterable[File] = ()) -> list[Report]:
    """Returns a report for each file, in their order.

    `earlier` are the files as they were: each definition is held to the compatibility that it declares, or, where it
    declares none, to what its earlier one declared. A base of `extends` has to be among the files.
    """
    given = list(files)
    found: dict[str, list[Finding]] = {file.name: [] for file in given}
    documents = _documents(given, found)
    _check_slugs(documents, found)
    known = {document.definition.slug: document.definition for document in documents.values()}
    before = _earlier(earlier)
    reports = []
    for file in given:
        document = documents.get(file.name)
        if document is None:
            reports.append(Report(file.name, findings=tuple(found[file.name])))
            continue
        definition = whole(document.definition, known, found[file.name])
        if definition is not None:
            found[file.name] += _checked(definition, document, file, before.get(definition.slug))
        shown_definition = definition if definition is not None else document.definition
        reports.append(
            Report(
                file.name,
                document.definition.slug,
                len(shown_definition.actions),
                sum(len(action.examples) for action in shown_definition.actions),
                tuple(sorted(found[file.name], key=lambda one: (RULES.index(one.rule), one.line, one.column))),
            )
        )
    return reports


def _documents(files: list[File], found: dict[str, list[Finding]]) -> dict[str, Document]:
    documents = {}
    for file in files:
        try:
            documents[file.name] = read(file.text)
        except DocumentInvalid as error:
            found[file.name].append(_placed(READABLE, Violation("", error.text)))
    return documents


def _earlier(files: Iterable[File]) -> dict[str, Definition]:
    """Returns the earlier definitions by slug; what cannot be read any more promises nothing."""
    reads: dict[str, Definition] = {}
    for file in files:
        try:
            definition = read(file.text).definition
        except DocumentInvalid:
            continue
        reads[definition.slug] = definition
    found = {slug: whole(definition, reads, []) for slug, definition in reads.items()}
    return {slug: definition for slug, definition in found.items() if definition is not None}


def _check_slugs(documents: Mapping[str, Document], found: dict[str, list[Finding]]) -> None:
    first: dict[str, str] = {}
    for name, document in documents.items():
        slug = document.definition.slug
        other = first.setdefault(slug, name)
        if other != name:
            text = f"{shown(slug)} is the slug of {other} too"
            found[name].append(_placed(NAMING, document.placed(Violation("slug", text))))


def whole(definition: Definition, known: Mapping[str, Definition], found: list[Finding]) -> Definition | None:
    """Returns a definition with what its bases say; None, with a finding, where that cannot be."""
    chain = [definition]
    while chain[-1].HasField("extends"):
        extends = chain[-1].extends
        base = known.get(extends.integration)
        if base is None or any(base is one for one in chain):
            problem = "is not in the folder" if base is None else "extends this one in turn"
            found.append(Finding(BASE, "extends.integration", f"{shown(extends.integration)} {problem}"))
            return None
        if base.version != extends.version:
            text = f"is {shown(extends.version)}, and the folder has {shown(base.version)}"
            found.append(Finding(BASE, "extends.version", text))
            return None
        chain.append(base)
    result = chain.pop()
    while chain:
        try:
            result = merged(result, chain.pop())
        except InvalidFields as error:
            found += [Finding(BASE, one.field, one.description) for one in error.violations]
            return None
    return result


def _checked(definition: Definition, document: Document, file: File, before: Definition | None) -> Iterator[Finding]:
    wrong = problems(definition)
    for violation in wrong:
        yield _placed(MEANING, document.placed(violation))
    for rule, violation in (
        *((NAMING, one) for one in _named(definition, file)),
        *((OWNERSHIP, one) for one in _owned(definition)),
        *((REVIEW, one) for one in _reviewed(definition)),
        # What cannot be published cannot be planned or compared either.
        *((EXAMPLES, one) for one in ([] if wrong else example_problems(definition))),
        *((COMPATIBILITY, one) for one in ([] if wrong else _broken(definition, before))),
    ):
        yield _placed(rule, document.placed(violation))


def _named(definition: Definition, file: File) -> Iterator[Violation]:
    if file.stem != definition.slug:
        yield Violation("slug", f"is {shown(definition.slug)}, and the file is called {shown(file.stem)}")


def _owned(definition: Definition) -> Iterator[Violation]:
    for field, text in (
        ("owner", "must name who answers for the integration"),
        ("criticality", "must say how much depends on it"),
        ("documentation_uri", "must lead to the vendor's documentation"),
    ):
        if not getattr(definition, field):
            yield Violation(field, text)


def _reviewed(definition: Definition) -> Iterator[Violation]:
    if definition.review_interval_days <= 0:
        yield Violation("review_interval_days", "must say after how many days a person looks at it again")


def _broken(definition: Definition, before: Definition | None) -> Iterator[Violation]:
    if before is None:
        return
    mode = Mode.declared([definition, before])
    if mode is Mode.NONE:
        return
    for one in breakages(before, definition, backward=mode.backward, forward=mode.forward):
        yield Violation(_indexed(definition, one.field), f"{one.description} (rule {one.rule}, {one.direction})")


def _indexed(definition: Definition, field: str) -> str:
    """Returns a field's path with indexes in place of ids, so that it has a place; what is gone keeps its id."""

    def index(found: re.Match[str]) -> str:
        ids = [one.id for one in getattr(definition, found[1])]
        return f"{found[1]}[{ids.index(found[2])}]" if found[2] in ids else found[0]

    return _ACTION.sub(index, field, count=1)


def _placed(rule: str, violation: Violation) -> Finding:
    found = _PLACE.search(violation.description)
    if found is None:
        return Finding(rule, violation.field, violation.description)
    line, column = (int(one) for one in found.groups() if one)
    return Finding(rule, violation.field, violation.description[: found.start()], line, column)
