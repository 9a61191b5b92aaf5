"""Starts UQI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.hub_age import HubAge
from cordboard.core.server import run
from cordboard.core.times import SystemClock
from cordboard.uqi.drafts import generator_hash
from cordboard.uqi.feed import CatalogFeed
from cordboard.uqi.form_sets import FormSets
from cordboard.uqi.forms import FormCache, Forms
from cordboard.uqi.options import Options
from cordboard.uqi.progress import ProgressBoard
from cordboard.uqi.proxied import ProxiedActions
from cordboard.uqi.query_editors import QueryEditors
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
    servicer = FormServicer(forms, options, FormSets(store, board), ttl=mesh.settings.form_ttl_seconds)
    add_FormServiceServicer_to_server(servicer, mesh.server)
    add_QueryEditorServiceServicer_to_server(QueryEditorServicer(QueryEditors(forms), forms), mesh.server)
    mesh.copies.add(upkeep.copy)
    mesh.background(upkeep.run())
    mesh.background(HubAge(lambda: mesh.channels.to("catalog"), mesh.copies, SystemClock()).run())
    mesh.on_close(upkeep.close)


def main() -> None:
    """Runs the service to its end."""
    run("uqi", UqiSettings, start)


if __name__ == "__main__":
    main()
