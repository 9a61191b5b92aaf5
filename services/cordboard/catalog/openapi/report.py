"""What became of an API description: what was derived, what was repaired, what was left out."""

from __future__ import annotations

from collections import Counter
from typing import Final

from cordboard.catalog.openapi.bundle import told
from cordboard.catalog.text import Path, written
from cordboard.catalog.v1.catalog_service_pb2 import ImportFinding, ImportReport

NOTE: Final = ImportFinding.SEVERITY_NOTE
REPAIR: Final = ImportFinding.SEVERITY_REPAIR
LOSS: Final = ImportFinding.SEVERITY_LOSS

# The same note about each of 500 operations helps nobody; losses are always listed one by one.
MAX_ALIKE: Final = 20
MAX_TEXT: Final = 400


class Report:
    """Gathers findings in the order in which they are made."""

    def __init__(self) -> None:
        """Begins empty."""
        self.operations = 0
        self._findings: list[ImportFinding] = []
        self._seen: set[tuple[int, str, str]] = set()
        self._alike: Counter[tuple[ImportFinding.Severity.ValueType, str]] = Counter()

    def note(self, pointer: str, text: str, *, alike: str = "") -> None:
        """Notes something that was derived from evidence. Findings that are `alike` are not all listed."""
        self._add(NOTE, pointer, text, alike or text)

    def repair(self, pointer: str, text: str, *, alike: str = "") -> None:
        """Notes something wrong that was repaired."""
        self._add(REPAIR, pointer, text, alike or text)

    def twice(self, pointer: str, path: Path) -> None:
        """Notes a key that its mapping has already; the last one holds."""
        self.repair(pointer, f"the key {written(path)[-100:]!r} stands twice; the last one holds")

    def loss(self, pointer: str, text: str) -> None:
        """Notes something that was left out."""
        self._add(LOSS, pointer, text, pointer)

    def message(self, actions: int) -> ImportReport:
        """Returns the report; `actions` is how many operations became actions."""
        findings = list(self._findings)
        for finding in findings:
            finding.pointer = told(finding.pointer)
        for (severity, alike), times in self._alike.items():
            if times > MAX_ALIKE:
                findings.append(ImportFinding(severity=severity, text=f"{times - MAX_ALIKE} more like it: {alike}"))
        return ImportReport(operation_count=self.operations, action_count=actions, findings=findings)

    def _add(self, severity: ImportFinding.Severity.ValueType, pointer: str, text: str, alike: str) -> None:
        text = text[:MAX_TEXT]
        # A schema that two operations share is looked at twice.
        if (severity, pointer, text) in self._seen:
            return
        self._seen.add((severity, pointer, text))
        self._alike[severity, alike[:MAX_TEXT]] += severity != LOSS
        if self._alike[severity, alike[:MAX_TEXT]] <= MAX_ALIKE:
            self._findings.append(ImportFinding(severity=severity, pointer=pointer, text=text))
