"""Sources as operators use them: folders, Git checkouts and vendors' catalogs, on schedule and when asked."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.sources import openapi
from cordboard.catalog.sources.rest import at, put, slug_of
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import source_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.governance_service_pb2 import TransitionDefinitionVersionRequest
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import (
    VERSION_STATE_ACTIVE,
    VERSION_STATE_DRAFT,
    VERSION_STATE_RETIRED,
    VERSION_STATE_STAGED,
)
from cordboard.catalog.v1.source_service_pb2_grpc import SourceServiceStub
from tests.fixtures.auth import refused
from tests.fixtures.edges import until
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.fixtures.sites import listening
from tests.unit.catalog.definitions import DOCUMENT

EXAMPLES = Path(__file__).resolve().parents[2] / "integrations" / "sources"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the Catalog may read."""
    made = tmp_path / "sources"
    made.mkdir()
    return made


@pytest.fixture
def shared(database: Databases) -> ServiceDatabase:
    """The Catalog's database."""
    return database("catalog")


@contextlib.asynccontextmanager
async def catalog(serving: Serving, shared: ServiceDatabase, folder: Path) -> AsyncIterator[Served]:
    """Runs a Catalog."""
    async with serving(
        "catalog", CatalogSettings, start, database_url=shared.url, source_folders=(folder,),
        egress_allowed_networks=("127.0.0.0/8",),
    ) as served:  # fmt: skip
        yield served


@pytest.fixture
async def served(serving: Serving, shared: ServiceDatabase, folder: Path) -> AsyncIterator[Served]:
    """A Catalog."""
    async with catalog(serving, shared, folder) as running:
        yield running


@pytest.fixture
def sources(served: Served) -> Any:
    """The sources as an operator has them."""
    return SourceServiceStub(served.as_role("operator", sub="ann"))


def a_definition(slug: str, title: str = "Acme Desk") -> str:
    """Returns a definition document."""
    return DOCUMENT.replace("slug: acme-desk", f"slug: {slug}").replace("title: Acme Desk", f"title: {title}")


async def run(sources: Any, name: str) -> tuple[list[tuple[str, str]], pb.SourceRun]:
    """Runs a source and returns what became of each thing, and the whole."""
    told = [answer async for answer in sources.RunSource(pb.RunSourceRequest(name=f"sources/{name}"))]
    return [(one.item, one.outcome) for one in told[:-1]], told[-1].run


async def slugs(served: Served) -> list[str]:
    """Returns what the catalog has."""
    stub: Any = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    found = await stub.ListIntegrations(catalog_pb.ListIntegrationsRequest())
    return [one.name.partition("/")[2] for one in found.integrations]


async def test_a_folder_is_read_again_and_again(served: Served, sources: Any, folder: Path) -> None:
    (folder / "a.yaml").write_text(a_definition("desk"))
    (folder / "deep").mkdir()
    (folder / "deep" / "pets.json").write_text(_pets())
    (folder / "broken.yaml").write_text("slug: [")
    (folder / ".hidden.yaml").write_text(a_definition("hidden"))
    (folder / "latin.yaml").write_bytes(b"title: \xe9")
    (folder / "notes.txt").write_text("nothing")
    outside = folder.parent / "outside.yaml"
    outside.write_text(a_definition("outside"))
    (folder / "link.yaml").symlink_to(outside)
    source = pb.Source(name="sources/ours", folder=pb.Folder(path=str(folder)), paused=True)
    await sources.PutSource(pb.PutSourceRequest(source=source))
    items, told = await run(sources, "ours")
    assert items == [
        ("a.yaml", "published"), ("broken.yaml", "failed"), ("deep/pets.json", "published"), ("latin.yaml", "failed"),
        ("link.yaml", "failed"),
    ]  # fmt: skip
    assert (told.found_count, told.published_count, told.failed_count) == (5, 2, 3)
    assert told.error.startswith("broken.yaml: ")
    assert await slugs(served) == ["desk", "pets"]
    items, _ = await run(sources, "ours")
    assert dict(items)["a.yaml"] == dict(items)["deep/pets.json"] == "unchanged"
    (folder / "a.yaml").write_text(a_definition("desk", "Another"))
    items, _ = await run(sources, "ours")
    assert (dict(items)["a.yaml"], dict(items)["deep/pets.json"]) == ("published", "unchanged")
    kept = await sources.GetSource(pb.GetSourceRequest(name="sources/ours"))
    assert kept.last_run.published_count == 1
    assert not kept.HasField("next_run_time")


def _pets() -> str:
    return (
        '{"openapi": "3.0.0", "info": {"title": "Pets", "version": "1"}, "servers": [{"url": "https://pets.example"}],'
        ' "paths": {"/pets": {"get": {"operationId": "list", "responses": {"200": {"description": "ok"}}}}}}'
    )


async def test_a_description_of_several_files_is_one_document_of_a_folder_and_of_a_commit(
    served: Served, sources: Any, folder: Path
) -> None:
    (folder / "atlas" / "paths").mkdir(parents=True)
    (folder / "atlas" / "atlas.yaml").write_text(
        "openapi: 3.1.0\ninfo: {title: Atlas, version: '1'}\nservers: [{url: 'https://api.atlas.example'}]\n"
        "paths: {/maps: {$ref: paths/maps.yaml}, /gone: {$ref: paths/gone.yaml}}\n"
    )
    maps = folder / "atlas" / "paths" / "maps.yaml"
    text = "get: {operationId: OP, parameters: [{$ref: '../../limit.yaml'}], responses: {'200': {description: ok}}}"
    maps.write_text(text.replace("OP", "list_maps"))
    (folder / "limit.yaml").write_text("{name: limit, in: query, schema: {type: integer}}")
    (folder / "desk.yaml").write_text(a_definition("desk"))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    for name, kind in (
        ("ours", {"folder": pb.Folder(path=str(folder))}),
        ("repo", {"git": pb.GitCheckout(path=str(folder))}),
    ):
        source = pb.Source(name=f"sources/{name}", paused=True, **kind)
        await sources.PutSource(pb.PutSourceRequest(source=source))
    stub: Any = CatalogServiceStub(served.as_role("reader", workspace="acme"))

    async def actions() -> list[tuple[str, str]]:
        found = await stub.ListActions(catalog_pb.ListActionsRequest(parent="integrations/atlas"))
        return [(one.id, one.path) for one in found.actions]

    assert (await run(sources, "ours"))[0] == [("atlas/atlas.yaml", "published"), ("desk.yaml", "published")]
    assert await actions() == [("list_maps", "/maps")]
    # The same files in a commit say the same.
    assert (await run(sources, "repo"))[0] == [("atlas/atlas.yaml", "unchanged"), ("desk.yaml", "unchanged")]
    # A part that changed is a change of the whole; not of what was committed.
    maps.write_text(text.replace("OP", "list_charts"))
    assert (await run(sources, "ours"))[0] == [("atlas/atlas.yaml", "published"), ("desk.yaml", "unchanged")]
    assert await actions() == [("list_charts", "/maps")]


def git(folder: Path, *arguments: str) -> str:
    """Runs git as a developer would."""
    own = {
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c",
        "GIT_CONFIG_GLOBAL": os.devnull, "PATH": os.environ["PATH"],
    }  # fmt: skip
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=own, check=True, capture_output=True, text=True)
    return done.stdout.strip()


async def test_a_commit_is_read_and_said_and_nothing_of_the_repository_runs(
    served: Served, sources: Any, folder: Path
) -> None:
    git(folder, "init", "-q", "-b", "main")
    (folder / "defs").mkdir()
    (folder / "defs" / "a.yaml").write_text(a_definition("desk"))
    (folder / "other.yaml").write_text(a_definition("other"))
    (folder / "defs" / "link.yaml").symlink_to("../other.yaml")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    commit = git(folder, "rev-parse", "HEAD")
    # What is not committed is not read, and what the repository asks to run is not run.
    (folder / "defs" / "b.yaml").write_text(a_definition("uncommitted"))
    trap = folder / "trap"
    for hook in ("post-checkout", "fsmonitor-watchman", "reference-transaction"):
        file = folder / ".git" / "hooks" / hook
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\ntouch {trap}\n")
        file.chmod(0o755)
    for name in ("core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "diff.external"):
        git(folder, "config", name, f"touch {trap}")
    source = pb.Source(name="sources/repo", git=pb.GitCheckout(path=str(folder), folder="defs"), paused=True)
    await sources.PutSource(pb.PutSourceRequest(source=source))
    items, told = await run(sources, "repo")
    assert items == [("defs/a.yaml", "published")]
    assert told.revision == commit
    assert not trap.exists()
    assert await slugs(served) == ["desk"]
    source.git.revision = "no-such-branch"
    await sources.PutSource(pb.PutSourceRequest(source=source))
    _, told = await run(sources, "repo")
    assert told.error.startswith("git rev-parse:")
    source.git.revision = "--upload-pack=touch x"
    await sources.PutSource(pb.PutSourceRequest(source=source))
    _, told = await run(sources, "repo")
    assert "hyphen" in told.error


class Vendor:
    """A vendor's catalog."""

    def __init__(self) -> None:
        self.pages: list[list[dict[str, Any]]] = []
        self.asked: list[str] = []
        self.loop = False
        self.elsewhere = ""
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        """Answers a page."""
        self.asked.append(request.path_qs)
        etag = f'"{hash(str(self.pages))}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        number = int(request.query.get("cursor", "0"))
        following: Any = number + 1 if number + 1 < len(self.pages) else None
        if self.loop:
            following = number
        body = {"data": self.pages[number], "next_cursor": self.elsewhere or following}
        return web.json_response(body, status=self.status, headers={"ETag": etag})


@pytest.fixture
async def vendor() -> AsyncIterator[tuple[Vendor, str]]:
    """A vendor's catalog and its URL."""
    made = Vendor()
    application = web.Application()
    application.router.add_get("/providers", made.answer)
    async with listening(application) as url:
        yield made, f"{url}/providers"


def an_entry(name: str) -> dict[str, Any]:
    """Returns an entry as a vendor has it."""
    return {
        "name": name, "display_name": name.upper(), "docs": "https://docs.example/x",
        "proxy": {"base_url": "https://api.example/v1"}, "authorization_url": "https://api.example/authorize",
        "token_url": "https://api.example/token",
    }  # fmt: skip


def nango_like(url: str) -> pb.Source:
    """Returns the shipped example, for a vendor that runs here."""
    source = json_format.ParseDict(yaml.safe_load((EXAMPLES / "nango-like.yaml").read_text()), pb.Source())
    source.rest.url = url
    source.paused = True
    return source


async def test_a_vendors_catalog_is_read_page_by_page_and_not_again_while_nothing_changed(
    served: Served, sources: Any, vendor: tuple[Vendor, str]
) -> None:
    there, url = vendor
    there.pages = [[an_entry("Hub_Spot"), an_entry("slack")], [an_entry("zendesk")]]
    await sources.PutSource(pb.PutSourceRequest(source=nango_like(url)))
    items, told = await run(sources, "nango-like")
    assert [outcome for _, outcome in items] == ["published"] * 3, (items, told.error)
    assert await slugs(served) == ["hub-spot", "slack", "zendesk"]
    assert told.revision
    asked = len(there.asked)
    items, told = await run(sources, "nango-like")
    assert items == []
    assert len(there.asked) == asked + 1
    there.pages[1].append(an_entry("github"))
    items, _ = await run(sources, "nango-like")
    assert [outcome for _, outcome in items] == ["unchanged", "unchanged", "unchanged", "published"]


async def test_a_vendor_that_misbehaves_costs_the_run_alone(
    served: Served, sources: Any, vendor: tuple[Vendor, str]
) -> None:
    there, url = vendor
    there.pages = [[an_entry("slack"), {"name": "?"}, "text"]]  # type: ignore[list-item]
    there.loop = True
    await sources.PutSource(pb.PutSourceRequest(source=nango_like(url)))
    items, told = await run(sources, "nango-like")
    assert [outcome for _, outcome in items] == ["published", "failed", "failed"]
    there.status = 500
    _, told = await run(sources, "nango-like")
    assert told.error == "it answers with HTTP status 500"
    there.status = 200
    there.elsewhere = "https://169.254.169.254/latest"
    source = nango_like(url)
    source.rest.cursor_parameter = ""
    await sources.PutSource(pb.PutSourceRequest(source=source))
    _, told = await run(sources, "nango-like")
    assert told.error == "a page is on another host"
    assert await slugs(served) == ["slack"]


def test_every_shipped_source_is_one() -> None:
    for file in EXAMPLES.glob("*.yaml"):
        source = json_format.ParseDict(yaml.safe_load(file.read_text()), pb.Source())
        assert source.name == f"sources/{file.stem}"
        assert source.WhichOneof("kind")
        assert source.rest.fields["slug"]


async def test_a_source_is_read_on_schedule_once_by_two_replicas(
    serving: Serving, shared: ServiceDatabase, folder: Path
) -> None:
    (folder / "a.yaml").write_text(a_definition("desk"))
    async with catalog(serving, shared, folder) as first, catalog(serving, shared, folder):
        stub: Any = SourceServiceStub(first.as_role("operator"))
        source = pb.Source(name="sources/ours", folder=pb.Folder(path=str(folder)), interval=Duration(seconds=3600))
        before = await stub.PutSource(pb.PutSourceRequest(source=source))

        async def ran() -> bool:
            told = await stub.GetSource(pb.GetSourceRequest(name="sources/ours"))
            return bool(told.last_run.HasField("end_time") and told.next_run_time != before.next_run_time)

        await until(ran, bound=60.0)
        told = await stub.GetSource(pb.GetSourceRequest(name="sources/ours"))
        assert told.last_run.published_count == 1
        wait = told.next_run_time.ToDatetime() - told.last_run.end_time.ToDatetime()
        assert 3600 * 0.89 < wait.total_seconds() < 3600 * 1.11
        assert await slugs(first) == ["desk"]


class Site:
    """A vendor's site with its API description."""

    def __init__(self) -> None:
        self.paths: dict[str, dict[str, Any]] = {"/pets": {"get": an_operation("list", "cursor")}}
        self.etag = True
        self.asked: list[dict[str, str]] = []
        self.body = b""
        self.moved = ""
        self.parts: dict[str, Any] = {}
        """What stands beside the description: a document, or an answer of its own."""
        self.took: list[tuple[str, str]] = []
        """Which parts were asked for, and the header that the source sends along."""

    async def part(self, request: web.Request) -> web.Response:
        """Answers with a part."""
        name = request.match_info["name"]
        self.took.append((name, request.headers.get("X-Version", "")))
        found = self.parts.get(name)
        if isinstance(found, web.Response):
            # An answer is sent once, and this one every time.
            return web.Response(status=found.status, headers=found.headers.copy())
        return web.Response(status=404) if found is None else web.json_response(found)

    async def answer(self, request: web.Request) -> web.Response:
        """Answers with the description."""
        self.asked.append(dict(request.headers))
        if self.moved:
            return web.Response(status=302, headers={"Location": self.moved})
        info = {"title": "Pets", "version": "1"}
        document = {
            "openapi": "3.1.0", "info": info, "servers": [{"url": "https://pets.example"}], "paths": self.paths,
        }  # fmt: skip
        body = self.body or json.dumps(document).encode()
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'} if self.etag else {}
        if headers and request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304)
        return web.Response(body=body, content_type="application/json", headers=headers)


def an_operation(name: str, *parameters: str) -> dict[str, Any]:
    """Returns an operation with these texts in its query."""
    made = [{"name": each, "in": "query", "schema": {"type": "string"}} for each in parameters]
    return {"operationId": name, "parameters": made, "responses": {"200": {"description": "ok"}}}


@pytest.fixture
async def site() -> AsyncIterator[tuple[Site, str]]:
    """A vendor's site and the URL of its description."""
    made = Site()
    application = web.Application()
    application.router.add_get("/openapi.json", made.answer)
    application.router.add_get("/{name:.+}", made.part)
    async with listening(application) as url:
        yield made, f"{url}/openapi.json"


async def follow(sources: Any, url: str, stage: Any = VERSION_STATE_ACTIVE, *hosts: str) -> None:
    """Has the description at a URL followed."""
    openapi = pb.OpenApiDescription(
        url=url, slug="pets", owner="team-pets", stage=stage, headers={"X-Version": "2"}, reference_hosts=hosts
    )
    await sources.PutSource(pb.PutSourceRequest(source=pb.Source(name="sources/pets", openapi=openapi, paused=True)))


async def told_of(sources: Any) -> tuple[pb.RunSourceResponse | None, pb.SourceRun]:
    """Runs it; returns what became of the document, if it was taken, and the whole."""
    told = [answer async for answer in sources.RunSource(pb.RunSourceRequest(name="sources/pets"))]
    return (told[0] if len(told) > 1 else None), told[-1].run


async def states(served: Served) -> dict[str, int]:
    """Returns the state of each version of the integration, as a publisher sees it."""
    stub: Any = CatalogServiceStub(served.as_role("publisher"))
    found = await stub.ListDefinitionVersions(catalog_pb.ListDefinitionVersionsRequest(parent="integrations/pets"))
    return {one.name.rpartition("/")[2]: one.state for one in found.definition_versions}


async def test_a_description_is_followed_and_a_version_that_would_hurt_waits_as_a_draft(
    served: Served, sources: Any, site: tuple[Site, str]
) -> None:
    there, url = site
    await follow(sources, url)
    answer, done = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, answer.text) == ("published", "integrations/pets/versions/1.0.0")
    assert (done.published_count, done.error, done.revision[:1]) == (1, "", '"')
    assert there.asked[0]["X-Version"] == "2"
    # What is the same is not taken again.
    answer, done = await told_of(sources)
    assert (answer, done.found_count, done.error) == (None, 0, "")
    assert there.asked[1]["If-None-Match"] == done.revision
    # What nobody has to know of comes in the stage that is asked for, with what has changed.
    there.paths["/pets/{id}"] = {"delete": an_operation("remove")}
    answer, done = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, done.held_version) == ("published", "")
    assert [one.field for one in answer.difference.changes if one.kind == 1] == ["actions[remove]"]
    assert answer.difference.backward
    assert await states(served) == {"1.0.0": VERSION_STATE_ACTIVE, "1.1.0": VERSION_STATE_ACTIVE}
    # What would hurt does not, and its owner is told until somebody has looked at it.
    del there.paths["/pets"]
    answer, done = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, done.held_version) == ("held", "integrations/pets/versions/1.2.0")
    assert done.notice.startswith("would hurt who uses 1.1.0: actions[list]: ")
    assert "(ACTION_REMOVED)" in done.notice
    assert not answer.difference.backward
    assert (await states(served))["1.2.0"] == VERSION_STATE_DRAFT
    _, again = await told_of(sources)
    assert (again.held_version, again.notice) == (done.held_version, done.notice)
    governance: Any = GovernanceServiceStub(served.as_role("operator"))
    move = TransitionDefinitionVersionRequest(name=done.held_version, state=VERSION_STATE_ACTIVE)
    await governance.TransitionDefinitionVersion(move)
    _, done = await told_of(sources)
    assert (done.held_version, done.notice) == ("", "")


async def test_a_description_without_an_etag_is_taken_when_it_is_another_and_as_a_draft_where_nothing_is_said(
    served: Served, sources: Any, site: tuple[Site, str]
) -> None:
    there, url = site
    there.etag = False
    await follow(sources, url, stage=0)
    answer, done = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, done.revision[:7]) == ("published", "sha256:")
    assert await states(served) == {"1.0.0": VERSION_STATE_DRAFT}
    answer, _ = await told_of(sources)
    assert answer is None
    assert "If-None-Match" not in there.asked[1]


async def test_a_site_that_misbehaves_costs_the_run_alone(
    served: Served, sources: Any, site: tuple[Site, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, url = site
    await follow(sources, url)
    await told_of(sources)
    for body, problem in (
        (b"\xff\xfe", f"{url}: is not UTF-8"),
        (b"{", f"{url}: "),
        (b"[1]", f"{url}: "),
    ):
        there.body = body
        _, done = await told_of(sources)
        assert done.error.startswith(problem), body
        assert done.failed_count == 1
    monkeypatch.setattr(openapi, "MAX_DOCUMENT_BYTES", 1024 * 1024)
    there.body = b" " * (1024 * 1024 + 1)
    assert (await told_of(sources))[1].error == "it is larger than 1 MiB"
    there.moved = url
    assert (await told_of(sources))[1].error == "it redirects more than 5 times"
    for inside in ("http://169.254.169.254/latest", "file:///etc/passwd", "http://user:word@127.0.0.1/"):
        there.moved = inside
        error = (await told_of(sources))[1].error
        assert error, inside
        assert "word" not in error
    assert await states(served) == {"1.0.0": VERSION_STATE_ACTIVE}


async def schema_of(served: Served, version: str) -> dict[str, Any]:
    """Returns the input schema of the one action of a version."""
    stub: Any = CatalogServiceStub(served.as_role("publisher"))
    request = catalog_pb.GetDefinitionVersionRequest(name=f"integrations/pets/versions/{version}")
    [action] = (await stub.GetDefinitionVersion(request)).definition.actions
    return dict(json.loads(action.input_schema_json)["properties"])


async def test_what_a_description_refers_to_at_other_urls_belongs_to_it(
    served: Served, sources: Any, site: tuple[Site, str]
) -> None:
    there, url = site
    host = url.split("/")[2]
    other = f"http://localhost:{host.partition(':')[2]}"
    there.paths = {"/pets": {"$ref": "paths/pets.json"}}
    parameter = {"name": "size", "in": "query", "schema": {"$ref": f"{other}/shared.json#/Size"}}
    there.parts["paths/pets.json"] = {"get": an_operation("list", "cursor")}
    there.parts["paths/pets.json"]["get"]["parameters"] += [
        parameter, {"$ref": "../common.json#/Colour"}, {"$ref": f"{url.rpartition('/')[0]}/common.json#/Shape"},
    ]  # fmt: skip
    there.parts["common.json"] = {
        name: {"name": name.lower(), "in": "query", "schema": {"type": "string"}} for name in ("Colour", "Shape")
    }
    there.parts["shared.json"] = {"Size": {"type": "integer", "maximum": 9}}
    await follow(sources, url, VERSION_STATE_ACTIVE, f"localhost:{host.partition(':')[2]}")
    answer, done = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, answer.file_count, list(answer.left_references)) == ("published", 3, [])
    assert done.revision.startswith("sha256:")
    found = await schema_of(served, "1.0.0")
    assert found["size"] == {"$ref": "#/$defs/Size"}
    assert set(found) == {"cursor", "size", "colour", "shape"}
    # The headers are for the host of the description alone.
    assert sorted(there.took) == [("common.json", "2"), ("paths/pets.json", "2"), ("shared.json", "")]
    # The same is not taken again, and a part that is another one makes another description.
    assert (await told_of(sources))[0] is None
    there.parts["common.json"]["Colour"]["schema"]["maxLength"] = 20
    answer, done = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, done.held_version) == ("held", "integrations/pets/versions/1.1.0")
    # A part that may only be away for a moment costs the run, and nothing is published without it.
    there.parts["shared.json"] = web.Response(status=503)
    answer, done = await told_of(sources)
    assert answer is None
    assert done.error == f"{other}/shared.json answers with HTTP status 503"
    assert done.held_version == "integrations/pets/versions/1.1.0"


async def test_what_may_not_be_asked_for_is_left_out_and_named(
    served: Served, sources: Any, site: tuple[Site, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, url = site
    base = url.rpartition("/")[0]
    elsewhere = {
        "http://169.254.169.254/latest": "its host is not among the `reference_hosts`",
        "file:///etc/passwd": "it is no URL that may be asked",
        "http://user:word@127.0.0.1/a.json": "it is no URL that may be asked",
        f"{base}/missing.json": "it is not there",
        f"{base}/out.json": "its host is not among the `reference_hosts`",
        f"{base}/round.json": "it redirects more than 5 times",
    }
    there.parts["out.json"] = web.Response(status=302, headers={"Location": "http://10.0.0.1/"})
    there.parts["round.json"] = web.Response(status=302, headers={"Location": "round.json"})
    for number, reference in enumerate(elsewhere):
        there.paths[f"/lost/{number}"] = {"$ref": f"{reference}#/paths"}
    await follow(sources, url)
    answer, done = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, answer.file_count, done.error) == ("published", 0, "")
    assert dict(one.split(": ", 1) for one in answer.left_references if "file:" not in one) == {
        one: why for one, why in elsewhere.items() if "file:" not in one
    }
    assert any(one.startswith("file:///etc/passwd") for one in answer.left_references)
    assert set(await schema_of(served, "1.0.0")) == {"cursor"}
    # So many, and so large, and no more.
    monkeypatch.setattr(openapi, "MAX_PARTS", 1)
    there.paths = {"/pets": {"get": an_operation("list", "cursor")}}
    for name in ("one", "two"):
        there.parts[f"{name}.json"] = {"get": an_operation(name)}
        there.paths[f"/{name}"] = {"$ref": f"{name}.json"}
    answer, _ = await told_of(sources)
    assert answer is not None
    assert (answer.file_count, list(answer.left_references)) == (
        1,
        [f"{base}/two.json: the description would be too large with it"],
    )


async def test_another_stage_is_what_the_next_run_gives_a_draft_that_nobody_tried(
    served: Served, sources: Any, site: tuple[Site, str]
) -> None:
    there, url = site
    await follow(sources, url, stage=0)
    await told_of(sources)
    assert await states(served) == {"1.0.0": VERSION_STATE_DRAFT}
    await follow(sources, url, VERSION_STATE_STAGED)
    answer, _ = await told_of(sources)
    assert answer is not None
    assert (answer.outcome, await states(served)) == ("unchanged", {"1.0.0": VERSION_STATE_STAGED})
    await follow(sources, url, VERSION_STATE_ACTIVE)
    await told_of(sources)
    assert await states(served) == {"1.0.0": VERSION_STATE_ACTIVE}
    # One that would hurt stays where it is, whatever is asked for.
    del there.paths["/pets"]
    there.paths["/cats"] = {"get": an_operation("cats")}
    await follow(sources, url, stage=0)
    await told_of(sources)
    await follow(sources, url, VERSION_STATE_ACTIVE)
    _, done = await told_of(sources)
    assert done.held_version == "integrations/pets/versions/1.1.0"
    assert await states(served) == {"1.0.0": VERSION_STATE_ACTIVE, "1.1.0": VERSION_STATE_DRAFT}
    # And what was moved on is never taken back.
    await follow(sources, url, stage=0)
    await told_of(sources)
    assert (await states(served))["1.0.0"] == VERSION_STATE_ACTIVE


async def test_two_runs_at_once_are_one(served: Served, sources: Any, vendor: tuple[Vendor, str]) -> None:
    there, _ = vendor
    there.pages = [[an_entry("slack")]]
    entered, leave = asyncio.Event(), asyncio.Event()
    answer = there.answer

    async def slow(request: web.Request) -> web.Response:
        entered.set()
        await leave.wait()
        return await answer(request)

    there.answer = slow  # type: ignore[method-assign]
    application = web.Application()
    application.router.add_get("/slow", slow)
    async with listening(application) as url:
        source = nango_like(f"{url}/slow")
        await sources.PutSource(pb.PutSourceRequest(source=source))
        first = asyncio.create_task(run(sources, "nango-like"))
        await entered.wait()
        _, reason, _ = await refused(run(sources, "nango-like"))
        assert reason == "STATE_CONFLICT"
        leave.set()
        items, _ = await first
        assert [outcome for _, outcome in items] == ["published"]


def an_openapi(url: str, **fields: Any) -> pb.Source:
    """Returns a source that follows a description."""
    return pb.Source(name="sources/x1", openapi=pb.OpenApiDescription(**{"url": url, "slug": "pets"} | fields))


async def test_a_wrong_source_is_refused_with_its_field(sources: Any, folder: Path) -> None:
    for source, field in (
        (pb.Source(name="sources/x1"), "source.kind"),
        (pb.Source(name="sources/Up", folder=pb.Folder(path=str(folder))), "source.name"),
        (pb.Source(name="sources/x1", folder=pb.Folder(path="/etc")), "source.folder.path"),
        (pb.Source(name="sources/x1", folder=pb.Folder(path=f"{folder}/../..")), "source.folder.path"),
        (pb.Source(name="sources/x1", git=pb.GitCheckout(path="relative")), "source.git.path"),
        (
            pb.Source(name="sources/x1", rest=pb.RestCatalog(url="file:///etc", fields={"slug": "/s"})),
            "source.rest.url",
        ),
        (pb.Source(name="sources/x1", rest=pb.RestCatalog(url="https://a.example/")), "source.rest.fields"),
        (an_openapi("ftp://a.example/"), "source.openapi.url"),
        (an_openapi("https://a.example/", slug=""), "source.openapi.slug"),
        (an_openapi("https://a.example/", stage=VERSION_STATE_RETIRED), "source.openapi.stage"),
        (an_openapi("https://a.example/", reference_hosts=["a.example/b"]), "source.openapi.reference_hosts[0]"),
        (an_openapi("https://a.example/", reference_hosts=["b.example"] * 21), "source.openapi.reference_hosts"),
        (
            pb.Source(name="sources/x1", folder=pb.Folder(path=str(folder)), interval=Duration(seconds=1)),
            "source.interval",
        ),
    ):
        _, reason, fields = await refused(sources.PutSource(pb.PutSourceRequest(source=source)))
        assert (reason, fields) == ("INVALID_FIELDS", [field]), source
    kept = await sources.PutSource(
        pb.PutSourceRequest(source=pb.Source(name="sources/x1", folder=pb.Folder(path=str(folder)), paused=True))
    )
    kept.etag = "other"
    _, reason, _ = await refused(sources.PutSource(pb.PutSourceRequest(source=kept)))
    assert reason == "ETAG_MISMATCH"
    await sources.DeleteSource(pb.DeleteSourceRequest(name="sources/x1"))
    _, reason, _ = await refused(sources.GetSource(pb.GetSourceRequest(name="sources/x1")))
    assert reason == "RESOURCE_NOT_FOUND"


def test_values_are_found_and_put_where_the_mapping_says() -> None:
    assert at({"a": [{"b/c": 1}]}, "/a/0/b~1c") == 1
    assert at({"a": 1}, "") == {"a": 1}
    assert at({"a": [1]}, "/a/1") is at({"a": 1}, "/a/b") is at([], "/x") is None
    document: dict[str, Any] = {"list": [{"id": 1}]}
    put(document, ["list", "0", "deep", "x"], 2)
    put(document, ["list", "1", "y"], 3)
    put(document, ["list", "9", "y"], 4)
    put(document, ["new", "0"], 5)
    assert document == {"list": [{"id": 1, "deep": {"x": 2}}, {"y": 3}], "new": [5]}
    assert slug_of(" Hub_Spot! CRM ") == "hub-spot-crm"
