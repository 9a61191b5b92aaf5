"""Auth's tables, one module for each kind of row. No rules here: rows in, frozen records out."""

from __future__ import annotations
