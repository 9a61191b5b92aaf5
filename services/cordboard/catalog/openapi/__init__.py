"""An OpenAPI document becomes a definition, with a report of what became of it."""

from __future__ import annotations

from cordboard.catalog.openapi.document import Imported, import_document

__all__ = ["Imported", "import_document"]
