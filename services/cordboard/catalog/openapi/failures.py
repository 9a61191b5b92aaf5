"""How an API says that something went wrong, recognised by declared rules, with the evidence in the report.

1. Text: where error answers hold a text for people, such as `/error/message`. The places are looked for in a fixed
   order, and the ones that most error answers have come first.
2. Flag: answers that mean success have a truth value `ok` or `success`, and beside it, there or in an error answer, a
   text such as `error`: a `false` is an error whatever the status.
3. Codes: where rule 2 holds and the error is one of a list of words, those that mean that a limit is reached or that a
   token has expired are told apart.

Rules 2 and 3 give error rules, and only such as the runtime can follow.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.openapi.members import Members, has_type, plain
from cordboard.catalog.openapi.source import Unresolved, join, mapping, sequence
from cordboard.catalog.v1.definition_pb2 import ErrorAction, ErrorRule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cordboard.catalog.openapi.members import Member
    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.responses import Answer
    from cordboard.catalog.openapi.source import Source
    from cordboard.catalog.v1.definition_pb2 import Action, Definition

MAX_POINTERS: Final = 5
OK: Final = 200

_HOLDERS: Final = ("error", "err", "fault", "errors", "errormessages", "messages")
_TEXTS: Final = (
    *("message", "errormessage", "msg", "detail", "details", "errordescription", "description", "reason"),
    "faultstring",
)
# What is no sentence as a rule, and better than nothing.
_WEAK: Final = ("title", "error")
_FLAGS: Final = ("ok", "success")
_BESIDE: Final = ("error", "message", "errormessage", "errordescription", "description", "errorcode", "code")
_CODES: Final = ("error", "errorcode", "code")
_LIMITED: Final = ("ratelimited", "ratelimitexceeded", "ratelimit", "toomanyrequests", "throttled", "quotaexceeded")
_EXPIRED: Final = ("tokenexpired", "expiredtoken", "accesstokenexpired", "expiredaccesstoken", "authtokenexpired")
_CAPABILITIES: Final = {
    ErrorAction.ERROR_ACTION_FAIL: "error.fail",
    ErrorAction.ERROR_ACTION_RATE_LIMITED: "error.rate-limited",
    ErrorAction.ERROR_ACTION_REFRESH_TOKEN_THEN_RETRY: "error.refresh-token-then-retry",
}


class Failures:
    """Gathers what the operations of one document say about errors."""

    def __init__(self, source: Source, report: Report, runtime: Collection[str]) -> None:
        """Takes the document, where the evidence goes, and what the runtime can do."""
        self._source = source
        self._members = Members(source)
        self._report = report
        self._runtime = runtime
        self._answers = 0
        self._errors = 0
        self._texts: Counter[str] = Counter()
        self._flags: dict[str, list[Action]] = {}
        self._codes: dict[str, dict[str, None]] = {}

    def look(self, responses: Any, pointer: str, answer: Answer, action: Action) -> None:
        """Takes in the responses of an operation; `answer` is what it answers when all went well."""
        errors = list(self._described(mapping(responses), pointer))
        for error in errors:
            self._errors += 1
            text = next(self._text(error), "")
            if text:
                self._texts[text] += 1
        good = self._members.resolved(answer.raw, answer.pointer) if answer.raw is not None else None
        if good is None:
            return
        self._answers += 1
        flag = next((one for one in self._members.called(good, "", _FLAGS) if has_type(one.schema, "boolean")), None)
        if flag is None or not any(self._is_told(one, flag) for one in (good, *errors)):
            return
        self._flags.setdefault(flag.pointer, []).append(action)
        for one in (good, *errors):
            self._take_codes(one)

    def settle(self, definition: Definition) -> None:
        """Writes what was recognised into the definition."""
        chosen = [text for text, _ in self._texts.most_common(MAX_POINTERS)]
        if chosen:
            counted = ", ".join(f"{text!r} ({self._texts[text]})" for text in chosen)
            self._report.note("/paths", f"of {self._errors} error answers these hold a text: {counted}")
            definition.error_message_pointers.extend(chosen)
        for flag, actions in self._flags.items():
            told = f"{len(actions)} of {self._answers} answers have the flag {flag!r}: false is an error"
            rules = [*self._rules_of_codes(), ErrorRule(statuses=[OK], pointer=flag, equals=["false"])]
            rules[-1].action = ErrorAction.ERROR_ACTION_FAIL
            kept = [rule for rule in rules if _CAPABILITIES[rule.action] in self._runtime]
            if rules[-1] not in kept:
                self._report.note("/paths", f"{told}, which this version cannot tell")
                continue
            self._report.note("/paths", told)
            # Where most answers have it, it is the habit of the whole API.
            holders = [definition] if 2 * len(actions) > self._answers else actions
            for holder in holders:
                holder.error_rules.extend(kept)

    def _rules_of_codes(self) -> Iterator[ErrorRule]:
        for pointer, values in self._codes.items():
            for words, action, meaning in (
                (_LIMITED, ErrorAction.ERROR_ACTION_RATE_LIMITED, "a limit is reached"),
                (_EXPIRED, ErrorAction.ERROR_ACTION_REFRESH_TOKEN_THEN_RETRY, "the token has expired"),
            ):
                found = [value for value in values if plain(value) in words]
                if found:
                    self._report.note("/paths", f"{', '.join(map(repr, found))} at {pointer!r}: {meaning}")
                    yield ErrorRule(statuses=[OK], pointer=pointer, equals=found, action=action)

    def _described(self, responses: dict[str, Any], pointer: str) -> Iterator[dict[str, Any]]:
        """Yields the schemas of the answers that mean an error."""
        for code, declared in responses.items():
            if str(code)[:1] not in ("4", "5") and code != "default":
                continue
            try:
                found, at = self._source.follow(declared, join(pointer, str(code)))
            except Unresolved:
                continue
            for media_type, value in mapping(mapping(found).get("content")).items():
                bare = media_type.partition(";")[0].strip().lower()
                schema = mapping(value).get("schema")
                if schema is None or not ("json" in bare or bare in ("*/*", "")):
                    continue
                resolved = self._members.resolved(schema, at)
                if resolved is not None:
                    yield resolved
                break

    def _text(self, error: dict[str, Any]) -> Iterator[str]:
        """Yields where an error answer holds a text, the best place first."""
        holders = list(self._members.called(error, "", _HOLDERS))
        for holder in holders:
            yield from self._named(holder.schema, holder.pointer, (*_TEXTS, *_WEAK))
        yield from self._named(error, "", _TEXTS)
        for holder in holders:
            item = self._members.resolved(holder.schema.get("items"), "") if "items" in holder.schema else None
            if item is not None and has_type(item, "string"):
                yield f"{holder.pointer}/0"
            elif item is not None:
                yield from self._named(item, f"{holder.pointer}/0", (*_TEXTS, *_WEAK))
        yield from self._named(error, "", _WEAK)

    def _named(self, schema: dict[str, Any], at: str, names: tuple[str, ...]) -> Iterator[str]:
        texts = {one.name: one.pointer for one in self._members.called(schema, at, names) if one.is_text}
        yield from (texts[name] for name in names if name in texts)

    def _is_told(self, schema: dict[str, Any], flag: Member) -> bool:
        """Tells whether an answer has the flag, and something that says what went wrong."""
        names = {one.name for one in self._members.all(schema, "")}
        return flag.name in names and not names.isdisjoint(_BESIDE)

    def _take_codes(self, schema: dict[str, Any]) -> None:
        for member in self._members.called(schema, "", _CODES):
            values = [value for value in sequence(member.schema.get("enum")) if isinstance(value, str)]
            if values:
                self._codes.setdefault(member.pointer, {}).update(dict.fromkeys(values))
