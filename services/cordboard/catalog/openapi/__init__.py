"""An OpenAPI document becomes a definition, with a report of what became of it."""

from __future__ import annotations

from cordboard.catalog.openapi.bundle import Files
from cordboard.catalog.openapi.document import NO_FILES, Imported, import_document

__all__ = ["NO_FILES", "Files", "Imported", "import_document"]
