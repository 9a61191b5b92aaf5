"""Editors as people and programs ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cordboard.core.errors import InvalidFields
from cordboard.uqi.custom_action import COMMAND as CUSTOM
from cordboard.uqi.custom_action import Request, bound_request
from cordboard.uqi.languages import DEFAULT, chosen
from cordboard.uqi.query_editor import Command, QueryEditor
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.wording import LANGUAGES, worded

if TYPE_CHECKING:
    from cordboard.uqi.binding import Bound
    from cordboard.uqi.forms import Forms, Settings
    from cordboard.uqi.languages import Ranges
    from cordboard.uqi.rendering import Rendering


class QueryEditors:
    """Answers with editors, and binds what was filled in."""

    def __init__(self, forms: Forms) -> None:
        """Takes the forms."""
        self._forms = forms

    async def editor(self, integration: str, version: str) -> QueryEditor:
        """Returns the editor of a version, the active one when empty; raises NotFound."""
        return await self._forms.editor(integration, version)

    async def rendering(
        self, integration: str, version: str, target: form_pb2.FormTarget.ValueType, ranges: Ranges = ()
    ) -> tuple[QueryEditor, Rendering]:
        """Returns an editor, and how it is in a client's format; raises NotFound and InvalidFields."""
        if target != form_pb2.FORM_TARGET_APPSMITH:
            raise InvalidFields.one("target", "must be FORM_TARGET_APPSMITH, the only format that knows editors")
        found = await self._forms.editor(integration, version, ranges)
        return found, found.appsmith

    async def bound(
        self, integration: str, version: str, values: Mapping[str, Any], settings: Settings
    ) -> tuple[Command | Request | None, Bound]:
        """Returns the command that the values name, and what they mean to its form.

        For a request of a person's own it is that request, or None where something is wrong with it. Raises NotFound,
        and InvalidFields for values of no command.
        """
        found = await self._forms.editor(integration, version)
        named = values.get("command")
        command = found.named(named) if isinstance(named, str) else None
        if named == CUSTOM and found.custom_requests:
            meant, request = bound_request(values, expressions=settings.expressions)
            return request, worded(meant, chosen(settings.ranges, DEFAULT, LANGUAGES))
        if command is None:
            raise InvalidFields.one("values.command", "must be one of the commands of this integration")
        form = command.form.rpartition("/")[2]
        return command, await self._forms.bound(integration, form, found.version, dict(values), settings)
