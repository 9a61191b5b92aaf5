"""Which integrations can work in a mesh that reaches some hosts, or none."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from cordboard.catalog.reach import Reach
from cordboard.catalog.settings import ReachableHost

HERE = ("api.desk.example", "*.corp.example", "db.internal:5433")


@pytest.mark.parametrize(
    ("hosts", "works"),
    [
        (["api.desk.example"], True),
        (["api.desk.example:8443"], False),
        (["desk.example"], False),
        (["wiki.corp.example", "a.b.corp.example"], True),
        (["corp.example"], False),
        (["evilcorp.example"], False),
        (["{site}.corp.example"], True),
        (["{site}.saas.example"], False),
        (["{host}"], True),
        (["{host}:{port}"], True),
        (["{host}:9200"], True),
        (["db.internal:5433", "api.other.example"], False),
        ([], True),
    ],
)
def test_every_host_has_to_be_reached_but_those_that_connections_choose(hosts: list[str], works: bool) -> None:
    assert Reach(HERE, lambda _slug: hosts).holds("any") is works
    assert Reach((), lambda _slug: hosts).holds("any"), "without a list everything can be reached"


@pytest.mark.parametrize(
    "host", ["Example.com", "https://a.example", "a.example/b", "*", "*.", "a.*.example", "", "*a"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ReachableHost).validate_python(host)


def test_a_host_is_named_as_definitions_name_it() -> None:
    for host in ("a.example", "*.a.example", "localhost:8080", "10.0.0.1"):
        assert TypeAdapter(ReachableHost).validate_python(host) == host
    with pytest.raises(ValidationError):
        TypeAdapter(ReachableHost).validate_python("a.example:443")
