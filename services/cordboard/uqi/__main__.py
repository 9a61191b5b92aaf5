"""Starts UQI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.hub_age import HubAge
from cordboard.core.names import new_id
from cordboard.core.server import run
from cordboard.core.times import SystemClock
from cordboard.uqi.drafts import generator_hash
from cordboard.uqi.feed import CatalogFeed
from cordboard.uqi.form_cache import FormCache
from cordboard.uqi.form_sets import FormSets
from cordboard.uqi.forms import Forms
from cordboard.uqi.options import Options
from cordboard.uqi.progress import ProgressBoard, ProgressNews
from cordboard.uqi.progress_store import ProgressStore
from cordboard.uqi.proxied import ProxiedActions
from cordboard.uqi.query_editors import QueryEditors
from cordboard.uqi.sealing import Sealing
from cordboard.uqi.servicer import FormServicer, QueryEditorServicer
from cordboard.uqi.settings import UqiSettings
from cordboard.uqi.store import FormStore
from cordboard.uqi.upkeep import Upkeep
from cordboard.uqi.v1.form_service_pb2_grpc import add_FormServiceServicer_to_server
from cordboard.uqi.v1.query_editor_service_pb2_grpc import add_QueryEditorServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process


async def start(mesh: Process[UqiSettings]) -> None:
    """Wires the parts of UQI."""
    store = FormStore(mesh.database())
    cache = FormCache(mesh.settings.form_cache_characters)
    feed = CatalogFeed(lambda: mesh.channels.to("catalog"))
    board = ProgressBoard(SystemClock())
    upkeep = Upkeep(store, feed, SystemClock(), generator=generator_hash(), on_change=cache.take, board=board)
    forms = Forms(store, cache, upkeep)
    proxy = (lambda: mesh.channels.to("proxy")) if mesh.settings.proxy_address else None
    options = Options(forms, ProxiedActions(proxy), SystemClock())
    ttl = mesh.settings.form_ttl_seconds
    news = ProgressNews(board, ProgressStore(mesh.database()), new_id())
    sets, sealing = FormSets(store, news), Sealing(proxy)
    add_FormServiceServicer_to_server(FormServicer(forms, options, sets, sealing, ttl=ttl), mesh.server)
    editors = QueryEditorServicer(QueryEditors(forms), forms, sealing, ttl=ttl)
    add_QueryEditorServiceServicer_to_server(editors, mesh.server)
    mesh.copies.add(upkeep.copy)
    mesh.background(upkeep.run())
    mesh.background(news.run())
    mesh.background(HubAge(lambda: mesh.channels.to("catalog"), mesh.copies, SystemClock()).run())
    mesh.on_close(upkeep.close)


def main() -> None:
    """Runs the service to its end."""
    run("uqi", UqiSettings, start)


if __name__ == "__main__":
    main()
