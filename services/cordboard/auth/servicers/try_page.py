"""TryPageService: messages in, one domain call, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api.httpbody_pb2 import HttpBody

from cordboard.auth.callback_page import CONTENT_TYPE
from cordboard.auth.v1.try_page_service_pb2_grpc import TryPageServiceServicer

if TYPE_CHECKING:
    from cordboard.auth.page_files import PageFiles
    from cordboard.auth.v1 import try_page_service_pb2 as pb


class TryPageServicer(TryPageServiceServicer):
    """Answers TryPageService."""

    def __init__(self, files: PageFiles) -> None:
        """Takes the page's files."""
        self._files = files

    async def ShowTryPage(self, _: pb.ShowTryPageRequest, context: Any) -> HttpBody:
        page = self._files.page()
        await context.send_initial_metadata(page.headers)
        return HttpBody(content_type=CONTENT_TYPE, data=page.text.encode())

    async def GetTryAsset(self, request: pb.GetTryAssetRequest, context: Any) -> HttpBody:
        file = self._files.file(request.asset)
        await context.send_initial_metadata(file.headers)
        return HttpBody(content_type=file.content_type, data=file.data)
