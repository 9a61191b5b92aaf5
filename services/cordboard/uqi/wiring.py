"""Where an action's inputs go in its request, as the canonical form document says it."""

from __future__ import annotations

from typing import Final

from cordboard.catalog.v1 import definition_pb2
from cordboard.uqi.v1 import form_pb2 as pb

_STYLES: Final = {
    definition_pb2.STYLE_SIMPLE: "simple",
    definition_pb2.STYLE_FORM: "form",
    definition_pb2.STYLE_SPACE_DELIMITED: "spaceDelimited",
    definition_pb2.STYLE_PIPE_DELIMITED: "pipeDelimited",
    definition_pb2.STYLE_DEEP_OBJECT: "deepObject",
    definition_pb2.STYLE_LABEL: "label",
    definition_pb2.STYLE_MATRIX: "matrix",
}
_LOCATIONS: Final = {
    definition_pb2.PLACEMENT_PATH: "path",
    definition_pb2.PLACEMENT_QUERY: "query",
    definition_pb2.PLACEMENT_HEADER: "header",
    definition_pb2.PLACEMENT_COOKIE: "cookie",
    definition_pb2.PLACEMENT_BODY: "body",
}


def wires(request: definition_pb2.RequestPlan) -> dict[str, pb.WireBinding]:
    """Returns where each input of a request goes, by the input's name."""
    found = {
        each.property: pb.WireBinding(
            location=_LOCATIONS.get(each.placement, ""), name=each.name, style=_STYLES.get(each.style, "")
        )
        for each in request.parameters
    }
    for member in request.body.fields:
        style = _STYLES.get(member.style, "")
        found[member.property] = pb.WireBinding(location="body", name=member.name, style=style)
    if request.body.property:
        found[request.body.property] = pb.WireBinding(location="body")
    return found
