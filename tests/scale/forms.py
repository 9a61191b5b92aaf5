"""Makes every form of every API description of some folders, and puts each before the programs that draw forms.

`python -m tests.scale.forms [--every N] FOLDER...`; without arguments the folder is CORDBOARD_OPENAPI_SAMPLES. With a
number, all forms are made and every Nth is put before the programs. What it counts:
forms made, drawn, given back by every format, taken and refused alike by Bind and AJV, and shown alike by four
evaluators of conditions; and the editor over all actions of each description.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cordboard.catalog.openapi import import_document
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.errors import CordboardError
from cordboard.core.schema import JsonSchema
from cordboard.uqi import canonical
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import Command
from cordboard.uqi.presentation import slots
from cordboard.uqi.query_editor import QueryEditor, query_editor
from cordboard.uqi.v1 import form_pb2
from tests.scale.imports import descriptions
from tests.unit.uqi import judges
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.judges import CLIENTS, Filler
from tests.unit.uqi.samples import stored

# Forms that the judges are asked about at a time: they answer when they have seen the last one.
AT_ONCE = 50
ROUNDS = 2


class Tally:
    """What became of the forms."""

    def __init__(self, every: int = 1) -> None:
        """Counts from nothing; takes how many forms share one look by the judges."""
        self._every = every
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.seconds: list[tuple[float, int, str]] = []
        self.largest: Counter[str] = Counter()
        self._waiting: list[tuple[str, dict[str, Any], list[Any]]] = []

    def definition(self, definition: Definition, name: str) -> None:
        """Makes the forms of a definition, and notes how long that took."""
        began = time.process_time()
        draftsman = Draftsman(definition)
        made = draftsman.drafts(draftsman.ids())
        self.seconds.append((time.process_time() - began, len(made), name))
        for draft in made:
            if isinstance(draft, Draft):
                self.form(draft, f"{name} {draft.id}")
            else:
                self.fail("not made", f"{name} {draft.id}: {draft.problem}")
        actions = [draft for draft in made if isinstance(draft, Draft) and draft.id.startswith("action.")]
        self.editor(query_editor("1.0.0", stored(definition.slug, actions)), name)

    def editor(self, editor: QueryEditor, name: str) -> None:
        """Checks the editor over all actions of a definition."""
        self.counts["query editors"] += 1
        self.counts["commands of query editors"] += len(editor.commands)
        self.largest["query editor for appsmith"] = max(
            self.largest["query editor for appsmith"], len(editor.appsmith.text)
        )
        for found in problems(json.loads(editor.appsmith.text)):
            self.fail("editor against Appsmith's rules", f"{name}: {found}")

    def fail(self, what: str, where: str) -> None:
        """Notes something that is wrong, and prints the first of its kind."""
        self.wrong[what] += 1
        if self.wrong[what] <= 5:
            print(f"{what}: {where[:400]}", flush=True)

    def form(self, draft: Draft, name: str) -> None:
        """Checks what can be checked here, and keeps the rest for the judges."""
        self.counts["forms"] += 1
        if self.counts["forms"] % self._every:
            return
        self.counts["forms judged"] += 1
        tree = judges.tree_of(draft)
        if canonical.read(form_pb2.FormDocument.FromString(draft.document)) != tree:
            self.fail("not given back", name)
        told = json.loads(json.dumps(slots(tree)))
        if isinstance(tree.target, Command) and json.loads(draft.appsmith)["editor"][1]["_uqi"] != told:
            self.counts["forms with text set apart for Appsmith"] += 1
        self.counts["fields"] += len(told)
        for found in problems(json.loads(draft.appsmith)):
            self.fail("against Appsmith's rules", f"{name}: {found}")
        request = judges.asked(draft, tree)
        sizes = {"json_schema": draft.json_schema, "appsmith": draft.appsmith}
        sizes |= {"json_forms": json.dumps(request["jsonForms"]), "react": json.dumps(request["react"])}
        for target, text in sizes.items():
            self.largest[target] = max(self.largest[target], len(text))
        self.largest["document"] = max(self.largest["document"], len(draft.document))
        expected: list[Any] = []
        judge = JsonSchema.compile(json.loads(draft.json_schema))
        for client in CLIENTS:
            for seed in range(ROUNDS):
                values = Filler(random.Random(seed), client, 0.2 * seed).members(tree.fields)
                request["trials"].append({"target": client, "values": values})
                expected.append((client, judges.verdict(tree, judge, values, client)))
        values = Filler(random.Random(7), "json_forms").members(tree.fields)
        shown = judges.visible(tree.fields, values)
        request["trials"].append({"shown": "json_forms", "values": values})
        expected.append(("conditions in JSON Forms", shown))
        named = judges.by_name(tree.fields, values)
        request["trials"].append({"shown": "react", "values": named})
        expected.append(("conditions in React", judges.names_shown(tree.fields, shown)))
        if isinstance(tree.target, Command) and "conditionals" in draft.appsmith:
            own = tree.target.id
            filled = {"command": own, own: judges.in_appsmith(tree.fields, values)}
            prefix = "actionConfiguration.formData."
            request["trials"].append({"shown": "appsmith", "values": filled})
            paths = {f"{prefix}{own}.{each}" for each in shown} | {f"{prefix}command"}
            expected.append(("conditions in Appsmith", paths))
        self._waiting.append((name, request, expected))
        if len(self._waiting) >= AT_ONCE:
            self.judge()

    def judge(self) -> None:
        """Asks the judges about the forms that wait."""
        waiting, self._waiting = self._waiting, []
        print(f"{self.counts['documents']} documents, {self.counts['forms judged']} forms judged", flush=True)
        for (name, _, expected), found in zip(waiting, judges.judged(each for _, each, _ in waiting), strict=True):
            for problem in found["problems"]:
                self.fail("not drawn", f"{name}: {problem}")
            for (what, ours), theirs in zip(expected, found["trials"], strict=True):
                self._compare(name, what, ours, theirs)

    def _compare(self, name: str, what: str, ours: Any, theirs: Any) -> None:
        if what.startswith("conditions"):
            self.counts[what] += 1
            if set(theirs) != ours:
                self.fail(what, f"{name}: {sorted(set(theirs) ^ ours)[:5]}")
            return
        taken, shown = ours
        self.counts[f"verdicts {what}"] += 1
        if taken == theirs:
            self.counts[f"verdicts {what}: the same"] += 1
        elif theirs and not shown:
            self.counts[f"verdicts {what}: left to Bind"] += 1
        else:
            self.fail(f"verdict {what}", f"{name}: Bind {taken}, AJV {theirs}")


def measure(paths: list[Path], every: int = 1) -> Tally:
    """Makes and judges the forms of every description that the Catalog takes, and prints what became of them."""
    tally = Tally(every)
    for path in paths:
        try:
            definition = import_document(path.read_text(encoding="utf-8", errors="replace")).definition
        except CordboardError:
            tally.counts["documents refused by the import"] += 1
            continue
        tally.counts["documents"] += 1
        tally.definition(definition, path.name)
    tally.judge()
    for what, count in sorted(tally.counts.items()):
        print(f"{what:44} {count}")
    for what, count in sorted(tally.wrong.items()):
        print(f"WRONG {what:38} {count}")
    if tally.seconds:
        seconds, forms, name = max(tally.seconds)
        middle = statistics.median(each[0] for each in tally.seconds)
        print(f"seconds for all forms of a document: median {middle:.2f}, most {seconds:.2f} ({forms} of {name})")
    for target, size in sorted(tally.largest.items()):
        print(f"largest {target:36} {size} characters")
    return tally


def main() -> None:
    """Measures the folders that the arguments name."""
    folders = sys.argv[1:] if Path(sys.argv[0]).stem == "forms" else []
    every = 1
    if folders[:1] == ["--every"]:
        every, folders = int(folders[1]), folders[2:]
    folders = folders or [os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "")]
    paths = descriptions([folder for folder in folders if folder])
    if not judges.INSTALLED or not paths:
        print("needs Node.js, `npm ci` in tests/node, and a folder of API descriptions (CORDBOARD_OPENAPI_SAMPLES)")
        return
    measure(paths, every)


if __name__ == "__main__":
    main()
