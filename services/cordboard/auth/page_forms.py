"""The forms of the connect page: those of the auth schemes, which UQI makes, and one for the variables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import grpc
import orjson

from cordboard.core.errors import DependencyUnavailable
from cordboard.uqi.v1 import form_pb2 as pb
from cordboard.uqi.v1.form_service_pb2 import GetFormDocumentRequest
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceStub

if TYPE_CHECKING:
    from cordboard.auth.definitions import Variable
    from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceAsyncStub

ASK_SECONDS: Final = 5.0
ACCEPT_LANGUAGE: Final = "accept-language"
# Characters.
MOST_LANGUAGES: Final = 1000


class PageForms:
    """Asks UQI."""

    def __init__(self, uqi: Callable[[], grpc.aio.Channel] | None) -> None:
        """Takes what returns the channel to use now; None where this process knows no UQI."""
        self._uqi = uqi

    async def of_schemes(self, integration: str, schemes: Iterable[str], languages: str = "") -> list[pb.FormDocument]:
        """Returns the form of each scheme, an empty one where it has none; raises DependencyUnavailable.

        `languages` are those that the person reads, as a browser says them.
        """
        return await asyncio.gather(*(self._form(integration, scheme, languages) for scheme in schemes))

    async def _form(self, integration: str, scheme: str, languages: str) -> pb.FormDocument:
        if self._uqi is None:
            raise DependencyUnavailable("uqi")
        stub: FormServiceAsyncStub = FormServiceStub(self._uqi())
        request = GetFormDocumentRequest(name=f"integrations/{integration}/forms/auth.{scheme}")
        try:
            # As a header and not in the request: what a browser sends need not be well-formed.
            plain = "".join(letter for letter in languages[:MOST_LANGUAGES] if " " <= letter <= "~")
            header = ((ACCEPT_LANGUAGE, plain),) if plain else ()
            return await stub.GetFormDocument(request, timeout=ASK_SECONDS, metadata=header)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return pb.FormDocument(kind=pb.FORM_KIND_CONNECTION, title=scheme)
            raise DependencyUnavailable("uqi") from None


def of_variables(variables: Iterable[Variable]) -> pb.FormDocument | None:
    """Returns the form of an integration's variables; None where there are none to ask for."""
    fields = [_field(variable) for variable in variables]
    if not fields:
        return None
    layout = [pb.LayoutNode(field_id=each.id) for each in fields]
    return pb.FormDocument(model_version=1, kind=pb.FORM_KIND_ACTION, fields=fields, layout=layout)


def _field(variable: Variable) -> pb.FormField:
    kind = pb.FieldType(text=pb.TextType())
    if variable.secret:
        kind = pb.FieldType(secret=pb.SecretType())
    elif variable.allowed:
        choices = (pb.Choice(value_json=_json(value), label=value) for value in sorted(variable.allowed))
        kind = pb.FieldType(choice=pb.ChoiceType(choices=choices))
    key = "".join(letter if letter.isalnum() else "_" for letter in variable.name)
    return pb.FormField(
        id=key,
        key=key,
        wire_name=variable.name,
        type=kind,
        label=variable.title or variable.name,
        help=variable.description,
        required=not (variable.optional or variable.default),
        # Not as a value: the connection would keep it as its own, before what the workspace sets later.
        placeholder="" if variable.secret else variable.default,
    )


def _json(value: str) -> str:
    return orjson.dumps(value).decode()
