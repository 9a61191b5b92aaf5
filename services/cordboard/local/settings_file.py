"""Settings of a mesh's services, from one file: a section for each service, or `*` for all of them."""

from __future__ import annotations

import importlib
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from cordboard.core.settings import PREFIX, Settings
from cordboard.local.certificates import SERVICES
from cordboard.local.failures import Unusable
from cordboard.local.options import EVERY_SERVICE

# What the local mesh decides itself; another value would part the service from the others.
OWN = frozenset(
    {"listen_address", "database_url", "identity_dir", "public_url", "trust_domain"}
    | {f"{service}_address" for service in SERVICES}
)


def settings_kind(service: str) -> type[Settings]:
    """Returns the settings class of a service."""
    module = importlib.import_module(f"cordboard.{service}.settings")
    [found] = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Settings) and value.__module__ == module.__name__
    ]
    return found


def read_settings(file: Path) -> dict[str, dict[str, str]]:
    """Returns the environment that a YAML file adds to each service; raises Unusable, naming the setting.

    Its values are judged by the services when they start.
    """
    try:
        content: Any = yaml.safe_load(file.read_text())
    except yaml.MarkedYAMLError as error:
        # Not the error's own text: it shows the line, which may hold a password.
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise Unusable(f"{file}: line {line}: {error.problem}") from None
    except (OSError, ValueError) as error:
        raise Unusable(f"{file}: {getattr(error, 'strerror', None) or 'is no text in UTF-8'}") from None
    if not isinstance(content, dict):
        raise Unusable(f"{file}: has to have a section for each service that is told something")
    return {str(section): _environment(file, str(section), told) for section, told in content.items()}


def _environment(file: Path, section: str, told: Any) -> dict[str, str]:
    if section != EVERY_SERVICE and section not in SERVICES:
        raise Unusable(f"{file}: {section}: is no service; there are {', '.join(SERVICES)}, and `*` for all")
    if not isinstance(told, dict):
        raise Unusable(f"{file}: {section}: has to have settings by name")
    kind = Settings if section == EVERY_SERVICE else settings_kind(section)
    for name in map(str, told):
        if name in OWN:
            raise Unusable(f"{file}: {section}.{name}: the local mesh decides it itself")
        if name not in kind.model_fields:
            near = get_close_matches(name, kind.model_fields, n=1)
            raise Unusable(f"{file}: {section}.{name}: is no setting" + (f"; is it {near[0]}?" if near else ""))
    return {f"{PREFIX}{name.upper()}": _text(value) for name, value in told.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
