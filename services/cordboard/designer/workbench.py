"""Definitions on disk as a person changes what they add to forms: what is not saved yet is kept in memory."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from cordboard.catalog import folder
from cordboard.catalog.definition import problems
from cordboard.catalog.document import from_plain, to_plain
from cordboard.catalog.text import parse
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import DocumentInvalid, Violation
from cordboard.designer import editors
from cordboard.designer.editors import Editor, Refused, Wrong
from cordboard.designer.parts import (
    WHOLE,
    added_fields,
    has_form,
    is_safe,
    losses,
    member_of,
    ordered,
    path_of,
    property_of,
    put,
    said,
    scheme_of,
    shown,
    siblings,
    type_of,
    with_kept,
    wrong_at,
)
from cordboard.designer.rewriting import CannotRewrite, rewritten
from cordboard.uqi import canonical
from cordboard.uqi.drafts import Draft, Draftsman, Failure
from cordboard.uqi.fields import FormTree
from cordboard.uqi.hints import walk
from cordboard.uqi.languages import localized
from cordboard.uqi.sign_in import sign_in_fields
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.workspace_settings import FORM as SETTINGS


@dataclass
class _Opened:
    """A definition: as it is in its file, and as it would be saved."""

    text: str
    begun: dict[str, Any]
    plain: dict[str, Any]
    found: list[Violation] | None = field(default=None, repr=False)
    """What keeps it from being published now; None while nobody has looked."""

    @property
    def is_changed(self) -> bool:
        return json.dumps(self.begun) != json.dumps(self.plain)


class Workbench:
    """The definitions of a few files, and what a person makes of them. One thread at a time."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Takes the files by what they are called."""
        self._files = dict(files)
        self._opened: dict[str, _Opened] = {}

    def definitions(self) -> list[dict[str, Any]]:
        """Returns what there is to open, in the order of the files."""
        return [self._listed(file) for file in self._files]

    def opened(self, file: str) -> dict[str, Any]:
        """Returns the forms of a definition; raises Refused."""
        opened = self._open(file)
        whole = self._whole(file)
        forms = [{"id": SETTINGS, "title": "What customers set", "kind": "settings"}]
        forms += [{"id": f"auth.{one.id}", "title": one.title or one.id, "kind": "auth"} for one in whole.auth_schemes]
        forms += [{"id": f"action.{one.id}", "title": one.title or one.id, "kind": "action"} for one in whole.actions]
        return {
            "file": file,
            "slug": whole.slug,
            "title": whole.title,
            "version": whole.version,
            "changed": opened.is_changed,
            "forms": forms,
        }

    def form(self, file: str, form: str, language: str = "") -> dict[str, Any]:
        """Returns a form as customers will see it, its parts, and what of it is shown otherwise; raises Refused."""
        whole = self._whole(file)
        parts: list[dict[str, Any]] = []
        if form != SETTINGS:
            parts.append({"id": WHOLE, "label": "The form itself", "depth": 0, "moves": False, "removable": False})
        document = self._document(whole, form)
        if document is None:
            return {"document": None, "parts": parts, "losses": [], "changed": self._open(file).is_changed}
        tree = canonical.read(document)
        parts += self._parts(whole, form, tree)
        shown = localized(document, (language,)) if language else document
        return {
            "document": json_format.MessageToDict(shown),
            "parts": parts,
            "losses": list(losses(document, tree)),
            "changed": self._open(file).is_changed,
        }

    def editor(self, file: str, form: str, part: str) -> dict[str, Any]:
        """Returns the form in which a part is changed, with what is said of it now; raises Refused."""
        whole = self._whole(file)
        editor = self._editor(whole, form, part)
        return {"document": editor.plain(), "values": shown(form, part, self._member(whole, form, part), editor)}

    def new(self, form: str) -> dict[str, Any]:
        """Returns the form in which a new part of a form is named; raises Refused."""
        return {"document": _naming(form).plain(), "values": {}}

    def change(self, file: str, form: str, part: str, values: Mapping[str, Any]) -> None:
        """Says something else of a part; raises Refused with what is wrong, and nothing is changed then."""
        whole = self._whole(file)
        editor = self._editor(whole, form, part)
        told = said(form, part, editor.values(values))
        before = self._member(whole, form, part)
        member = {name: each for name, each in before.items() if name not in editor.members}
        member |= with_kept(told, before, editor)
        self._put(file, form, part, ordered(member, before), values)

    def add(self, file: str, form: str, values: Mapping[str, Any]) -> str:
        """Adds a field to an auth scheme, or a config variable, and returns its part; raises Refused."""
        name = str(_naming(form).values(values)["name"])
        whole = self._whole(file)
        known = {each.name for each in whole.config_variables}
        if form != SETTINGS:
            scheme = self._scheme(whole, form)
            known = {each.name for each in scheme.fields} | {each.name for each in sign_in_fields(scheme, {})}
        if name in known:
            raise Refused(Wrong("/name", "stands there already", "name"))
        self._put(file, form, name, {"name": name}, {})
        return name

    def remove(self, file: str, form: str, part: str) -> None:
        """Takes away a field that an auth scheme adds, or a config variable; raises Refused."""
        plain = copy.deepcopy(self._open(file).plain)
        holder, name = (plain, "config_variables") if form == SETTINGS else (scheme_of(plain, form), "fields")
        members = (holder or {}).get(name, [])
        left = [one for one in members if one.get("name") != part]
        if holder is None or len(left) == len(members):
            raise Refused(Wrong("", f"{part!r} comes from the base of this definition: `extends.remove` takes it out"))
        holder[name] = left
        if not left:
            del holder[name]
        self._take(file, plain, {})

    def move(self, file: str, form: str, part: str, by: int) -> None:
        """Puts a field of an action before or behind its neighbour; raises Refused."""
        whole = self._whole(file)
        document = self._document(whole, form)
        beside = siblings(canonical.read(document).fields, path_of(part)) if document else ()
        places = [each.path for each in beside]
        if not form.startswith("action.") or path_of(part) not in places:
            raise Refused(Wrong("", "only fields of an action can be moved"))
        at = places.index(path_of(part))
        to = at + (1 if by > 0 else -1)
        if not 0 <= to < len(places):
            return
        hinted = {path_of(each.property): each for each in self._action(whole, form).form_hints}
        ordered = [index for index, path in enumerate(places) if path in hinted and hinted[path].order]
        last = max([at, to, *ordered])
        places[at], places[to] = places[to], places[at]
        plain = copy.deepcopy(self._open(file).plain)
        for order, path in enumerate(places[: last + 1], 1):
            name = property_of(path)
            member = {**self._member(whole, form, name), "order": order}
            self._place(plain, whole, form, name, member)
        self._take(file, plain, {})

    def findings(self, file: str) -> list[dict[str, Any]]:
        """Returns what `cordboard check` would say of a definition as it is now."""
        files = []
        for name, path in self._files.items():
            try:
                text = self._text(name)
            except Refused:
                text = path.read_text(encoding="utf-8", errors="replace")
            files.append(folder.File(str(path), text))
        place = list(self._files).index(file)
        return [asdict(one) for one in folder.check_files(files)[place].findings]

    def text(self, file: str) -> str:
        """Returns the text that would be saved; raises Refused."""
        return self._text(file)

    def save(self, file: str) -> None:
        """Writes a definition into its file; raises Refused where that has changed meanwhile."""
        opened, path = self._open(file), self._files[file]
        made = self._text(file)
        if _read(path) != opened.text:
            raise Refused(Wrong("", f"{file} was changed by somebody else: discard your changes, and make them again"))
        try:
            _write(path, made)
        except OSError as error:
            raise Refused(Wrong("", f"{file} cannot be written: {(error.strerror or str(error)).lower()}")) from None
        self._opened[file] = _Opened(made, copy.deepcopy(opened.plain), opened.plain, opened.found)

    def discard(self, file: str) -> None:
        """Forgets everything that was not saved."""
        self._opened.pop(file, None)

    # --- what is there

    def _listed(self, file: str) -> dict[str, Any]:
        try:
            opened = self._open(file)
        except Refused as error:
            return {"file": file, "slug": "", "title": file, "problem": str(error), "changed": False}
        plain = opened.plain
        title, slug = str(plain.get("title", "")), str(plain.get("slug", ""))
        return {"file": file, "slug": slug, "title": title or slug, "problem": "", "changed": opened.is_changed}

    def _open(self, file: str) -> _Opened:
        path = self._files.get(file)
        if path is None:
            raise Refused(Wrong("", f"{file[:100]!r} is not one of the files"))
        known = self._opened.get(file)
        if known is not None and known.is_changed:
            return known
        text = _read(path)
        if known is not None and known.text == text:
            return known
        try:
            plain = parse(text, refuse_duplicates=True).value
            from_plain(plain)
        except DocumentInvalid as error:
            raise Refused(Wrong("", f"{file}: {error.text}")) from None
        self._opened[file] = made = _Opened(text, plain, copy.deepcopy(plain))
        return made

    def _text(self, file: str) -> str:
        opened = self._open(file)
        return _rewritten(opened.text, opened.plain)

    def _whole(self, file: str, plain: dict[str, Any] | None = None) -> pb.Definition:
        definition = from_plain(self._open(file).plain if plain is None else plain)
        known = {definition.slug: definition}
        if definition.HasField("extends"):
            for name in self._files:
                try:
                    other = from_plain(self._open(name).plain)
                except Refused:
                    continue
                known.setdefault(other.slug, other)
        found: list[folder.Finding] = []
        whole = folder.whole(definition, known, found)
        if whole is None:
            raise Refused(Wrong("", "; ".join(f"{one.field} {one.text}" for one in found)))
        return whole

    def _document(self, whole: pb.Definition, form: str) -> form_pb2.FormDocument | None:
        draftsman = Draftsman(whole)
        if form == SETTINGS and not whole.config_variables:
            return None
        if form not in draftsman.ids():
            raise Refused(Wrong("", f"{form[:100]!r} is not one of the forms"))
        (draft,) = draftsman.drafts([form])
        if isinstance(draft, Failure):
            raise Refused(Wrong("", draft.problem))
        return _of(draft, whole.version)

    def _parts(self, whole: pb.Definition, form: str, tree: FormTree) -> Iterator[dict[str, Any]]:
        if form.startswith("action."):
            said = {path_of(each.property) for each in self._action(whole, form).form_hints}
            seen: set[tuple[str, ...]] = set()
            for each in walk(tree.fields):
                if each.path in seen:
                    continue
                seen.add(each.path)
                yield {
                    "id": property_of(each.path),
                    "label": each.title,
                    "depth": len(each.path) - 1,
                    "hidden": each.hidden,
                    "said": each.path in said,
                    "moves": each.name != "*",
                    "removable": False,
                }
            return
        own = {each.name for each in whole.config_variables}
        if form != SETTINGS:
            scheme = self._scheme(whole, form)
            if scheme.WhichOneof("kind") == "all_of":
                # Its fields are those of its parts, and are changed there.
                return
            own = added_fields(scheme)
        for each in tree.fields:
            yield {
                "id": each.name, "label": each.title, "depth": 0, "moves": False, "removable": each.name in own,
            }  # fmt: skip

    def _editor(self, whole: pb.Definition, form: str, part: str) -> Editor:
        if part == WHOLE and form != SETTINGS:
            document = self._document(whole, form)
            return editors.titled(document.title if document else "")
        document = self._document(whole, form)
        tree = canonical.read(document) if document else None
        if form.startswith("action."):
            shown = next((each for each in walk(tree.fields if tree else ()) if each.path == path_of(part)), None)
            if shown is None:
                raise Refused(Wrong("", f"{part[:100]!r} is not one of the fields"))
            own = self._action(whole, form).id
            lists = [one.id for one in whole.actions if one.id != own and is_safe(one)]
            return editors.hint(shown, lists[:500], str(self._member(whole, form, part).get("widget", "")))
        known = {each.name: each for each in (tree.fields if tree else ())}
        if part not in known:
            raise Refused(Wrong("", f"{part[:100]!r} is not one of the fields"))
        if form == SETTINGS:
            schema = self._member(whole, form, part).get("schema", {})
            return editors.variable(is_other=type_of(schema) == "other")
        return editors.auth_field(is_own=part in added_fields(self._scheme(whole, form)), title=known[part].title)

    def _action(self, whole: pb.Definition, form: str) -> pb.Action:
        return next(one for one in whole.actions if f"action.{one.id}" == form)

    def _scheme(self, whole: pb.Definition, form: str) -> pb.AuthScheme:
        found = next((one for one in whole.auth_schemes if f"auth.{one.id}" == form), None)
        if found is None:
            raise Refused(Wrong("", f"{form[:100]!r} is not one of the forms"))
        return found

    def _member(self, whole: pb.Definition, form: str, part: str) -> dict[str, Any]:
        """Returns what is said of a part, together with its base's."""
        if form == SETTINGS:
            found: Any = next((one for one in whole.config_variables if one.name == part), None)
            return to_plain(found) if found is not None else {"name": part}
        holder: Any = self._action(whole, form) if form.startswith("action.") else self._scheme(whole, form)
        if part == WHOLE:
            plain = to_plain(holder)
            return {name: plain[name] for name in ("id", "title", "description", "translations") if name in plain}
        if form.startswith("action."):
            same = (one for one in holder.form_hints if path_of(one.property) == path_of(part))
            hint = next(same, None)
            return to_plain(hint) if hint is not None else {"property": part}
        told = next((one for one in holder.fields if one.name == part), None)
        return to_plain(told) if told is not None else {"name": part}

    # --- what changes

    def _put(self, file: str, form: str, part: str, member: dict[str, Any], values: Mapping[str, Any]) -> None:
        plain = copy.deepcopy(self._open(file).plain)
        whole = self._whole(file)
        self._place(plain, whole, form, part, member)
        self._take(file, plain, values)

    def _place(self, plain: dict[str, Any], whole: pb.Definition, form: str, part: str, member: dict[str, Any]) -> None:
        """Puts a member into the plain document; raises Refused where it would empty what a base says."""
        base = self._base(whole, plain)
        inherited = self._member(base, form, part) if base is not None and has_form(base, form) else {}
        emptied = [name for name in inherited if name not in member]
        if emptied:
            text = "comes from the base of this definition, and can be replaced, not emptied"
            raise Refused(*(Wrong(f"/{name}", text, name) for name in emptied))
        own = {
            name: value
            for name, value in member.items()
            if name in ("id", "property", "name") or inherited.get(name) != value
        }
        if form == SETTINGS:
            put(plain, "config_variables", "name", own)
            return
        kind, holder_id = ("actions", form[7:]) if form.startswith("action.") else ("auth_schemes", form[5:])
        if part == WHOLE:
            held = member_of(plain, kind, holder_id)
            before = dict(held)
            for name in ("title", "description", "translations"):
                held.pop(name, None)
            held |= {name: value for name, value in own.items() if name != "id"}
            merged = ordered(held, before)
            held.clear()
            held |= merged
            return
        held = member_of(plain, kind, holder_id)
        name, key = ("form_hints", "property") if kind == "actions" else ("fields", "name")
        known = next((one for one in held.get(name, []) if path_of(str(one.get(key))) == path_of(own[key])), None)
        says_nothing = set(own) == {key}
        if says_nothing and kind == "actions":
            held[name] = [one for one in held.get(name, []) if one is not known]
            if not held[name]:
                del held[name]
        elif known is not None:
            own[key] = known[key]
            put(held, name, key, own)
        else:
            held.setdefault(name, []).append(own)

    def _base(self, whole: pb.Definition, plain: Mapping[str, Any]) -> pb.Definition | None:
        """Returns what a definition that extends another has from there; None where it extends nothing."""
        if "extends" not in plain:
            return None
        bare = {name: plain[name] for name in ("slug", "version", "extends") if name in plain}
        definition = from_plain(bare)
        known = {}
        for name in self._files:
            try:
                other = from_plain(self._open(name).plain)
            except Refused:
                continue
            known[other.slug] = other
        known[whole.slug] = definition
        return folder.whole(definition, known, [])

    def _take(self, file: str, plain: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Keeps a changed document, unless the change is what makes it wrong."""
        opened = self._open(file)
        before = {(one.field, one.description) for one in self._found(file)}
        whole = self._whole(file, plain)
        found = problems(whole)
        added = [one for one in found if (one.field, one.description) not in before]
        if added:
            raise Refused(*(wrong_at(one, values) for one in added))
        _rewritten(opened.text, plain)
        opened.plain, opened.found = plain, found

    def _found(self, file: str) -> list[Violation]:
        opened = self._open(file)
        if opened.found is None:
            opened.found = problems(self._whole(file))
        return opened.found


def _naming(form: str) -> Editor:
    if form == SETTINGS:
        return editors.named("A new variable that customers set")
    if form.startswith("auth."):
        return editors.named("A new field that people fill in to connect")
    raise Refused(Wrong("", "the fields of an action are its input's"))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise Refused(Wrong("", f"{path}: {(error.strerror or str(error)).lower()}")) from None
    except UnicodeDecodeError:
        raise Refused(Wrong("", f"{path}: the document is not UTF-8")) from None


def _write(path: Path, text: str) -> None:
    """Writes a file so that it is the old one or the new one, whatever happens."""
    place = path.resolve()
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(place.stat().st_mode & 0o777)
        Path(name).replace(place)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _rewritten(text: str, plain: dict[str, Any]) -> str:
    try:
        return rewritten(text, plain)
    except CannotRewrite as error:
        raise Refused(Wrong("", f"the file cannot be changed so: {error}")) from None


def _of(draft: Draft, version: str) -> form_pb2.FormDocument:
    found = form_pb2.FormDocument.FromString(draft.document)
    found.version = version
    return found
