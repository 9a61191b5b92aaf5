"""Choices between their proto messages and the domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields
from cordboard.core.names import check_id, parse
from cordboard.core.times import to_timestamp
from cordboard.flags.choices.store import Place
from cordboard.flags.compilation import CHOSEN_OFF, CHOSEN_ON
from cordboard.flags.content import is_key
from cordboard.flags.v1 import choice_service_pb2 as pb

if TYPE_CHECKING:
    from cordboard.core.caller import Caller
    from cordboard.flags.choices.choices import Chosen

CHOICES: Final = {"": pb.CHOICE_UNSPECIFIED, CHOSEN_ON: pb.CHOICE_ON, CHOSEN_OFF: pb.CHOICE_OFF}


def place_of(name: str, environment: str, caller: Caller) -> Place:
    """Returns where `workspaces/{workspace}/integrations/{slug}/choice` is; raises InvalidFields."""
    workspace, slug = parse(name, "workspaces/*/integrations/*/choice")
    if not _is_slug(slug):
        raise InvalidFields.one("name", "must name an integration by its slug", "RESOURCE_NAME")
    return Place(slug, check_id(workspace, "name"), environment_of(environment, caller))


def environment_of(environment: str, caller: Caller) -> str:
    """Returns the environment that is meant: the token's own, unless an operator names one; raises InvalidFields."""
    if caller.is_operator:
        meant = environment or caller.environment
        if not meant:
            raise InvalidFields.one("environment", "must be named by who has the token of none", "REQUIRED")
        return check_id(meant, "environment")
    if environment not in ("", caller.environment):
        raise InvalidFields.one("environment", "must be the token's own", "OTHER_ENVIRONMENT")
    return caller.environment


def choice_of(number: int) -> str:
    """Returns a choice; raises InvalidFields."""
    for word, known in CHOICES.items():
        if known == number:
            return word
    raise InvalidFields.one("choice", "must be one of Choice", "OUT_OF_RANGE")


def slug_of(text: str, field: str) -> str:
    """Returns a slug, or nothing for none; raises InvalidFields."""
    if text and not _is_slug(text):
        raise InvalidFields.one(field, "must be an integration's slug")
    return text


def _is_slug(text: str) -> bool:
    # What follows a dot in a flag's key is no longer the integration's name.
    return is_key(text) and "." not in text


def after_of(text: str) -> Place | None:
    """Returns the place after which a page begins, None for the first one; raises InvalidFields."""
    parts = text.split("/")
    if not text:
        return None
    if len(parts) != 3:
        raise InvalidFields.one("page_token", "is not a token of this list")
    return Place(*parts)


def after_text(place: Place) -> str:
    """Returns a place as page tokens have it."""
    return f"{place.integration}/{place.workspace}/{place.environment}"


def choice_message(chosen: Chosen) -> pb.IntegrationChoice:
    """Returns what was chosen as it is answered."""
    record, standing = chosen.record, chosen.standing
    return pb.IntegrationChoice(
        name=record.place.name,
        environment=record.place.environment,
        choice=CHOICES[record.choice],
        creator=record.creator,
        reason=record.reason,
        update_time=None if record.update_time is None else to_timestamp(record.update_time),
        on=None if standing is None else standing.on,
        offered=None if standing is None else standing.offered,
        choosable=None if standing is None else standing.choosable,
    )
