"""What the connect page asks UQI for."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cordboard.auth.page_forms import MOST_LANGUAGES, PageForms
from cordboard.uqi.v1 import form_pb2, form_service_pb2


async def echo(request: form_service_pb2.GetFormDocumentRequest, context: Any) -> form_pb2.FormDocument:
    """Answers with a document whose title is the header that came."""
    sent = dict(context.invocation_metadata())
    return form_pb2.FormDocument(name=request.name, title=str(sent.get("accept-language", "none")))


@pytest.mark.parametrize(
    ("languages", "sent"),
    [
        ("de-CH, de;q=0.8", "de-CH, de;q=0.8"),
        ("", "none"),
        ("de\r\nx-role: operator\u202e", "dex-role: operator"),
        ("x" * 5000, "x" * MOST_LANGUAGES),
    ],
)
async def test_the_languages_of_the_browser_are_passed_on_and_nothing_else(languages: str, sent: str) -> None:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        echo, form_service_pb2.GetFormDocumentRequest.FromString, form_pb2.FormDocument.SerializeToString
    )
    service = grpc.method_handlers_generic_handler("cordboard.uqi.v1.FormService", {"GetFormDocument": method})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            (form,) = await PageForms(lambda: channel).of_schemes("acme", ["key"], languages)
    finally:
        await server.stop(0)
    assert (form.name, form.title) == ("integrations/acme/forms/auth.key", sent)
