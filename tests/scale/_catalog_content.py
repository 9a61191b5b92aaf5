"""Fills a database with a large catalog: `python -m tests.scale._catalog_content URL INTEGRATIONS ACTIONS`."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from datetime import UTC, datetime

from cordboard.catalog.definition import content_hash
from cordboard.catalog.facts import describe, described
from cordboard.catalog.store import CatalogStore, VersionRecord
from cordboard.catalog.v1.definition_pb2 import Category, Definition
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_ACTIVE
from cordboard.core.database import Database

NOUNS = (
    "account", "album", "article", "asset", "balance", "board", "booking", "branch", "campaign", "card", "channel",
    "charge", "comment", "company", "contact", "contract", "coupon", "customer", "deal", "device", "dispute", "domain",
    "event", "file", "folder", "form", "group", "invoice", "issue", "label", "lead", "list", "member", "message",
    "milestone", "note", "order", "page", "payment", "payout", "person", "pipeline", "plan", "price", "product",
    "project", "quote", "refund", "report", "role", "segment", "session", "site", "sprint", "store", "subscription",
    "tag", "task", "team", "template", "ticket", "token", "transfer", "user", "version", "webhook", "workflow",
)  # fmt: skip
VERBS = (("list", "GET"), ("get", "GET"), ("create", "POST"), ("update", "PATCH"), ("delete", "DELETE"))
BATCH = 50


def a_definition(number: int, actions: int) -> Definition:
    """Returns a definition of about the size that a real API's description has."""
    chance = random.Random(number)
    slug = f"{chance.choice(NOUNS)}-{chance.choice(NOUNS)}-{number:04d}"
    made = Definition(
        slug=slug,
        version="1.0.0",
        title=slug.replace("-", " ").title(),
        description=f"Keeps {chance.choice(NOUNS)}s and {chance.choice(NOUNS)}s for teams of every size. " * 3,
        category=Category.CATEGORY_API,
        owner=f"team-{number % 20}",
        tags=[chance.choice(NOUNS), chance.choice(NOUNS)],
    )
    made.servers.add(url=f"https://api.{slug}.example/v1")
    made.auth_schemes.add(id="key").bearer.SetInParent()
    for index in range(actions):
        verb, method = VERBS[index % len(VERBS)]
        noun = f"{NOUNS[(number + index) % len(NOUNS)]}_{index}"
        properties = {
            f"{chance.choice(NOUNS)}_{at}": {"type": "string", "description": f"The {chance.choice(NOUNS)} to use."}
            for at in range(12)
        }
        action = made.actions.add(id=f"{verb}_{noun}", title=f"{verb.title()} {noun}", description="Does it. " * 10)
        action.input_schema_json = json.dumps({"type": "object", "properties": properties})
        action.output_schema_json = json.dumps({"type": "object", "properties": properties})
        action.request.method, action.request.path = method, f"/{noun}s"
        for name in properties:
            action.request.parameters.add(property=name, name=name, placement=2)
    return made


async def fill(url: str, integrations: int, actions: int) -> int:
    """Writes the catalog through the store; returns its bytes."""
    database = Database(url, pool_size=2)
    store = CatalogStore(database)
    written = 0
    for begin in range(0, integrations, BATCH):
        async with store.writing() as (connection, _):
            for number in range(begin, min(begin + BATCH, integrations)):
                definition = a_definition(number, actions)
                sequence = await store.advance(connection)
                now = datetime.now(UTC)
                record = VersionRecord(
                    slug=definition.slug, version="1.0.0", content_hash=content_hash(definition), published=sequence,
                    create_time=now, creator="scale", state=VERSION_STATE_ACTIVE, sequence=sequence, revision=1,
                    activation=sequence, sunset_time=None, successor="", reason="", update_time=now, updater="scale",
                    workspace_id="",
                )  # fmt: skip
                content = definition.SerializeToString(deterministic=True)
                written += len(content)
                await store.add_version(connection, record, content, described(definition))
                await store.put_integration(connection, describe(definition, record))
    await database.close()
    return written


if __name__ == "__main__":
    print(asyncio.run(fill(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
