"""ConsolePageService: the console's page and its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api.httpbody_pb2 import HttpBody

from cordboard.auth.callback_page import CONTENT_TYPE
from cordboard.auth.v1 import console_page_service_pb2 as pb
from cordboard.auth.v1.console_page_service_pb2_grpc import ConsolePageServiceServicer

if TYPE_CHECKING:
    from cordboard.auth.page_files import PageFiles


class ConsolePageServicer(ConsolePageServiceServicer):
    """Answers ConsolePageService."""

    def __init__(self, files: PageFiles) -> None:
        """Takes the page's files."""
        self._files = files

    async def ShowConsolePage(self, _: pb.ShowConsolePageRequest, context: Any) -> HttpBody:
        page = self._files.page()
        await context.send_initial_metadata(page.headers)
        return HttpBody(content_type=CONTENT_TYPE, data=page.text.encode())

    async def GetConsoleAsset(self, request: pb.GetConsoleAssetRequest, context: Any) -> HttpBody:
        file = self._files.file(request.asset)
        await context.send_initial_metadata(file.headers)
        return HttpBody(content_type=file.content_type, data=file.data)
