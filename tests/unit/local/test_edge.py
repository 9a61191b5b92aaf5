"""Envoy as it is configured in `gateway-envoy/`, in front of servers that say what reached them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import jwt
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from cordboard.catalog.v1 import catalog_service_pb2
from cordboard.common.v1 import options_pb2
from cordboard.local import envoy, probes
from cordboard.local.certificates import SERVICES, Identities, Identity
from cordboard.local.commands import launched
from cordboard.local.envoy import EnvoyLayout, RateLimit
from cordboard.local.ports import Ports

STAND_IN = Path(__file__).parents[2] / "fixtures" / "stand_in.py"
LIST = "/cordboard.catalog.v1.CatalogService/ListIntegrations"
PUBLISH = "/cordboard.catalog.v1.CatalogService/PublishDefinition"
EXECUTE = "/cordboard.proxy.v1.ProxyService/Execute"
READY_SECONDS = 60.0
HTTP: Any = annotations_pb2.http


@dataclass(frozen=True)
class Answer:
    """What came back from Envoy over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def seen(self) -> dict[str, Any]:
        """What the server behind Envoy was called with."""
        return dict(json.loads(self.headers["x-seen"]))


class Keys:
    """The signing keys that Envoy is told of, and tokens signed with them."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "jwks.json"
        self._keys: dict[str, rsa.RSAPrivateKey] = {}

    def add(self, kid: str) -> None:
        """Makes a key without telling."""
        self._keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def publish(self, *kids: str) -> None:
        """Says which keys count from now on."""
        keys = [
            {
                **jwt.algorithms.RSAAlgorithm.to_jwk(self._keys[kid].public_key(), as_dict=True),
                "kid": kid,
                "alg": "RS256",
            }
            for kid in kids
        ]
        partial = self._file.with_suffix(".part")
        partial.write_text(json.dumps({"keys": keys}))
        partial.replace(self._file)

    def token(self, kid: str = "first", *, workspace: str | None = None, **claims: Any) -> str:
        """Signs a token that is good, but for `claims`."""
        now = int(time.time())
        content = {
            "iss": "https://auth.cordboard.internal",
            "aud": "cordboard",
            "sub": "somebody",
            "iat": now,
            "exp": now + 300,
            # A workspace of its own: no test empties the bucket of another.
            "workspace": workspace or f"ws-{uuid4().hex}",
            **claims,
        }
        return jwt.encode(content, self._keys[kid], algorithm="RS256", headers={"kid": kid})


@dataclass(frozen=True)
class Edge:
    """A running Envoy and what is needed to talk to it."""

    port: int
    ca_file: Path
    keys: Keys
    folder: Path
    admin_socket: Path
    log: Path = field(repr=False)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Calls over HTTPS."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=20)
        try:
            connection.putrequest(method, path)
            for name, value in {**(headers or {}), "content-length": str(len(body or b""))}.items():
                connection.putheader(name, value)
            connection.endheaders()
            # Envoy refuses a body that is too long by its length alone, and does not read it to the end.
            with contextlib.suppress(OSError):
                connection.send(body or b"")
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> Answer:
        """Calls with JSON."""
        sent = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return self.request(method, path, None if body is None else json.dumps(body).encode(), sent)

    def flood(self, path: str, **headers: str) -> list[int]:
        """Sends GETs on eight connections until one is refused for their number; returns every status.

        One connection, which waits for each answer, would not empty on a slow machine what fills up again.
        """
        context = ssl.create_default_context(cafile=str(self.ca_file))
        deadline = time.monotonic() + 60
        refused = threading.Event()

        def one(_: int) -> list[int]:
            found: list[int] = []
            connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=60)
            while not refused.is_set() and time.monotonic() < deadline:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                found.append(answer.status)
                if answer.status == 429:
                    refused.set()
            connection.close()
            return found

        with ThreadPoolExecutor(8) as people:
            return [status for statuses in people.map(one, range(8)) for status in statuses]

    def channel(self) -> grpc.Channel:
        """Opens a gRPC channel."""
        return grpc.secure_channel(
            f"localhost:{self.port}",
            grpc.ssl_channel_credentials(self.ca_file.read_bytes()),
            options=[("grpc.use_local_subchannel_pool", 1)],
        )

    def grpc(self, path: str, token: str | None = None, request: bytes = b"", **metadata: str) -> dict[str, Any]:
        """Calls one unary method; returns what the server saw; raises grpc.RpcError."""
        with self.channel() as channel:
            sent = {name.replace("_", "-"): value for name, value in metadata.items()}
            if token is not None:
                sent["authorization"] = f"Bearer {token}"
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            _, call = method.with_call(request, metadata=tuple(sent.items()), timeout=20)
            return dict(json.loads(dict(call.initial_metadata())["x-seen"]))

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """Returns the spans of a trace that Envoy has sent, each with its attributes and its resource's."""
        file = self.folder / "spans"
        content = file.read_bytes() if file.exists() else b""
        found = []
        while content:
            size = int.from_bytes(content[:4], "big")
            batch = trace_service_pb2.ExportTraceServiceRequest.FromString(content[4 : 4 + size])
            content = content[4 + size :]
            for each in batch.resource_spans:
                resource = {item.key: item.value.string_value for item in each.resource.attributes}
                for span in (span for scope in each.scope_spans for span in scope.spans):
                    attributes = {item.key: item.value.string_value for item in span.attributes}
                    if span.trace_id.hex() == trace_id:
                        names = {"name": span.name, "id": span.span_id.hex(), "parent": span.parent_span_id.hex()}
                        found.append({**resource, **attributes, **names})
        return found

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines of the access log that Envoy has sent, each with its attributes and its resource's."""
        file = self.folder / "logs"
        content = file.read_bytes() if file.exists() else b""
        found = []
        while content:
            size = int.from_bytes(content[:4], "big")
            batch = logs_service_pb2.ExportLogsServiceRequest.FromString(content[4 : 4 + size])
            content = content[4 + size :]
            for each in batch.resource_logs:
                resource = {item.key: item.value.string_value for item in each.resource.attributes}
                for record in (record for scope in each.scope_logs for record in scope.log_records):
                    attributes = {item.key: item.value.string_value for item in record.attributes}
                    names = {"body": record.body.string_value, "trace": record.trace_id.hex()}
                    found.append({**resource, **attributes, **names})
        return found

    def stat(self, pattern: str) -> dict[str, int]:
        """Returns Envoy's counters whose name matches."""
        found = asyncio.run(probes.answer_of_socket(self.admin_socket, f"/stats?filter={pattern}"))
        return {line.split(": ")[0]: int(line.split(": ")[1]) for line in (found or "").splitlines() if ": " in line}


@pytest.fixture(scope="module")
def edge(identities: Identities) -> Iterator[Edge]:
    """Envoy with a small rate limit, and a stand-in for each service."""
    folder = Path(tempfile.mkdtemp(prefix="cordboard-edge-"))
    keys = Keys(folder)
    keys.add("first")
    keys.publish("first")
    ports = Ports()
    services = {service: ports.claim() for service in SERVICES}
    root = identities.directory("envoy").parent
    layout = EnvoyLayout(
        public_port=ports.claim(),
        services=services,
        identities=root,
        sockets=folder,
        directory=folder / "envoy",
        descriptors=envoy.descriptors(),
        rate_limit=RateLimit(per_second=5, burst=10),
    )
    addresses = [f"{service}=127.0.0.1:{port}" for service, port in services.items()]
    commands = (
        (sys.executable, str(STAND_IN), str(root), str(folder), *addresses),
        envoy.command(with_small_flood(envoy.fit(layout))),
    )
    log = folder / "log"
    with log.open("wb") as output:
        running = [
            subprocess.Popen(launched(command, death_signal=signal.SIGKILL, account=None), stdout=output, stderr=output)
            for command in commands
        ]
    found = Edge(layout.public_port, identities.ca_file, keys, folder, layout.admin_socket, log)
    try:
        wait_for(lambda: sum(found.stat("edge.jwt_authn.jwks_fetch_success$").values()) > 0, log)
        wait_for(lambda: found.request("GET", "/readyz").status == 200, log)
        yield found
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()
        ports.release()
        shutil.rmtree(folder)


def with_small_flood(file: Path) -> Path:
    """Makes a flood of what a slow machine can send."""
    fitted = json.loads(file.read_text())
    filters = fitted["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][-1]["typed_config"]
    [flood] = [entry["typed_config"] for entry in filters["http_filters"] if entry["name"] == "flood"]
    [bucket] = [entry["token_bucket"] for entry in flood["descriptors"]]
    bucket |= {"max_tokens": 1000, "tokens_per_fill": 50}
    file.write_text(json.dumps(fitted))
    return file


def wait_for(condition: Callable[[], bool], log: Path, seconds: float = READY_SECONDS) -> None:
    """Returns once `condition` holds; fails the test, with the log, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not happen within {seconds} s:\n{log.read_text()[-4000:]}")
        time.sleep(0.05)


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Returns how a gRPC call was refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


def test_a_grpc_call_reaches_its_service_as_envoy_with_its_token(edge: Edge) -> None:
    token = edge.keys.token()
    seen = edge.grpc(LIST, token)
    assert (seen["service"], seen["method"]) == ("catalog", LIST)
    assert "spiffe://cordboard/envoy" in seen["peer"]
    assert seen["metadata"]["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/cordboard.catalog.v1.CatalogService/GetIntegration", "catalog"),
        ("/cordboard.catalog.v1.DriftService/ListDrifts", "catalog"),
        ("/cordboard.auth.v1.TokenService/IssueToken", "auth"),
        ("/cordboard.auth.v1.LoginService/BeginLogin", "auth"),
        ("/cordboard.auth.v1.RevocationService/RevokeToken", "auth"),
        ("/cordboard.auth.v1.EdgeTokenService/IssueEdgeToken", "auth"),
        ("/cordboard.auth.v1.ApiKeyService/CreateApiKey", "auth"),
        ("/cordboard.auth.v1.WorkspaceService/GetWorkspace", "auth"),
        ("/cordboard.auth.v1.ConnectService/CreateConnectSession", "auth"),
        ("/cordboard.auth.v1.ConnectLinkService/CreateConnectLink", "auth"),
        ("/cordboard.auth.v1.ConnectPageService/OpenConnectPage", "auth"),
        ("/cordboard.auth.v1.TryPageService/ShowTryPage", "auth"),
        ("/cordboard.auth.v1.ConsolePageService/GetConsoleAsset", "auth"),
        ("/cordboard.auth.v1.ConnectionService/ListConnections", "auth"),
        ("/cordboard.auth.v1.VaultService/GetVaultStatus", "auth"),
        ("/cordboard.auth.v1.IncidentService/ListCutOffs", "auth"),
        ("/cordboard.uqi.v1.FormService/GetForm", "uqi"),
        ("/cordboard.uqi.v1.QueryEditorService/GetQueryEditor", "uqi"),
        ("/cordboard.flags.v1.FlagService/GetFlag", "flags"),
        ("/cordboard.flags.v1.FlagHistoryService/EvaluateFlagAsOf", "flags"),
        ("/cordboard.flags.v1.FlagConsumerService/ListFlagConsumers", "flags"),
        ("/cordboard.flags.v1.RolloutService/GetRollout", "flags"),
        ("/cordboard.flags.v1.ProposalService/GetProposal", "flags"),
        ("/cordboard.flags.v1.ExperimentService/GetExperiment", "flags"),
        ("/cordboard.flags.v1.TrackingService/TrackEvents", "flags"),
        ("/cordboard.flags.v1.OfrepService/EvaluateOfrepFlags", "flags"),
        ("/cordboard.flags.v1.ConnectJsonService/EvaluateFlagd", "flags"),
        ("/cordboard.proxy.v1.ProxyService/Execute", "proxy"),
        ("/cordboard.proxy.v1.ForwardService/Forward", "proxy"),
        ("/cordboard.proxy.v1.JobService/SubmitJob", "proxy"),
        ("/cordboard.proxy.v1.BatchService/ExecuteBatch", "proxy"),
        ("/cordboard.proxy.v1.SealedInputService/SealInput", "proxy"),
        ("/cordboard.proxy.v1.DeadLetterService/ListDeadLetters", "proxy"),
        ("/cordboard.proxy.v1.ScheduleService/CreateSchedule", "proxy"),
        ("/cordboard.proxy.v1.EventService/ListEvents", "proxy"),
        ("/cordboard.proxy.v1.BreakerService/OverrideBreaker", "proxy"),
        ("/cordboard.proxy.v1.BackendService/CutOver", "proxy"),
        ("/cordboard.proxy.v1.QuotaService/ListQuotas", "proxy"),
        ("/cordboard.proxy.v1.PollingTriggerService/GetPollingTrigger", "proxy"),
        ("/cordboard.proxy.v1.SubscriptionService/Subscribe", "proxy"),
        ("/cordboard.telemetry.v1.TraceService/GetTrace", "telemetry"),
        ("/cordboard.telemetry.v1.MetricsService/ListRates", "telemetry"),
        ("/cordboard.telemetry.v1.LogService/ListLogLines", "telemetry"),
        ("/cordboard.telemetry.v1.AlertService/ListAttention", "telemetry"),
    ],
)
def test_each_package_goes_to_its_service(edge: Edge, path: str, service: str) -> None:
    assert edge.grpc(path, edge.keys.token())["service"] == service


@pytest.mark.parametrize("service", ["catalog", "auth", "flags", "proxy", "telemetry"])
def test_a_journal_is_asked_of_the_service_that_the_header_names(edge: Edge, service: str) -> None:
    path = "/cordboard.common.v1.AuditService/VerifyAudit"
    assert edge.grpc(path, edge.keys.token(), audit_service=service)["service"] == service
    others: list[dict[str, Any]] = [{}, {"audit_service": "uqi"}]
    for other in others:
        assert refusal(partial(edge.grpc, path, edge.keys.token(), **other))[0] is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "path",
    [
        "/cordboard.auth.v1.CredentialService/LeaseCredential",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/cordboard.catalog.v1.UnheardOfService/Anything",
    ],
)
def test_what_is_internal_is_not_there_whatever_the_token(edge: Edge, path: str) -> None:
    assert refusal(lambda: edge.grpc(path, edge.keys.token()))[0] is grpc.StatusCode.UNIMPLEMENTED


def test_json_is_transcoded_both_ways(edge: Edge) -> None:
    answer = edge.json("GET", "/v1/integrations?page_size=7", token=edge.keys.token())
    assert answer.status == 200
    assert answer.seen["method"] == LIST
    assert answer.seen["request_bytes"] == len(
        catalog_service_pb2.ListIntegrationsRequest(page_size=7).SerializeToString()
    )
    assert "integrations" in json.loads(answer.body)


def test_a_refusal_of_a_service_keeps_its_code_in_json(edge: Edge) -> None:
    answer = edge.json("GET", "/v1/integrations/none", token=edge.keys.token(), fail_with="NOT_FOUND")
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == 5


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/nothing", 404), ("/v1/integrations?colour=red", 400), ("/console/assets", 404)]
)
def test_json_that_no_rpc_takes_is_refused(edge: Edge, path: str, status: int) -> None:
    assert edge.json("GET", path, token=edge.keys.token()).status == status


def test_grpc_web_is_understood(edge: Edge) -> None:
    message = b"\x00\x00\x00\x00\x00"
    headers = {"content-type": "application/grpc-web+proto", "authorization": f"Bearer {edge.keys.token()}"}
    answer = edge.request("POST", LIST, message, headers)
    assert answer.status == 200
    assert answer.seen["service"] == "catalog"
    assert b"grpc-status:0" in answer.body.replace(b" ", b"")


def test_a_stream_arrives_in_all_its_parts(edge: Edge) -> None:
    with edge.channel() as channel:
        path = "/cordboard.proxy.v1.ProxyService/ExecuteStream"
        call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
        answers = list(call(b"", metadata=(("authorization", f"Bearer {edge.keys.token()}"),), timeout=20))
    assert len(answers) == 3


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({}, grpc.StatusCode.OK),
        ({"exp": int(time.time()) - 60}, grpc.StatusCode.UNAUTHENTICATED),
        ({"iss": "https://elsewhere"}, grpc.StatusCode.UNAUTHENTICATED),
        ({"aud": "another"}, grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_a_token_is_checked_claim_by_claim(edge: Edge, claims: dict[str, Any], code: grpc.StatusCode) -> None:
    token = edge.keys.token(**claims)
    if code is grpc.StatusCode.OK:
        assert edge.grpc(LIST, token)["service"] == "catalog"
    else:
        assert refusal(lambda: edge.grpc(LIST, token))[0] is code


def test_a_token_of_a_foreign_key_or_of_none_is_refused(edge: Edge) -> None:
    foreign = Keys(edge.folder)
    foreign.add("first")
    assert refusal(lambda: edge.grpc(LIST, foreign.token()))[0] is grpc.StatusCode.UNAUTHENTICATED
    header, payload, _ = edge.keys.token().split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    assert header != unsigned
    assert refusal(lambda: edge.grpc(LIST, f"{unsigned}.{payload}."))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert refusal(lambda: edge.grpc(LIST))[0] is grpc.StatusCode.UNAUTHENTICATED


def test_a_missing_token_is_said_in_json_to_who_speaks_json(edge: Edge) -> None:
    answer = edge.json("GET", "/v1/integrations")
    assert answer.status == 401
    assert json.loads(answer.body) == {"code": 16, "message": "Jwt is missing"}


def test_a_token_in_the_query_does_not_count(edge: Edge) -> None:
    assert edge.json("GET", f"/v1/integrations?access_token={edge.keys.token()}").status in (400, 401)


def test_a_new_signing_key_counts_without_touching_envoy(edge: Edge) -> None:
    edge.keys.add("second")
    token = edge.keys.token("second")
    assert refusal(lambda: edge.grpc(LIST, token))[0] is grpc.StatusCode.UNAUTHENTICATED
    edge.keys.publish("first", "second")

    def accepted() -> bool:
        try:
            return bool(edge.grpc(LIST, token))
        except grpc.RpcError:
            return False

    wait_for(accepted, edge.log)
    edge.keys.publish("first")
    wait_for(lambda: not accepted(), edge.log)


def test_what_needs_no_token_gets_in_without(edge: Edge) -> None:
    assert edge.request("GET", "/healthz").body == b"ok"
    keys = edge.json("GET", "/.well-known/jwks.json")
    assert (keys.status, keys.headers["content-type"]) == (200, "application/json")
    assert json.loads(keys.body)["keys"]
    with edge.channel() as channel:
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=20) == b"\x08\x01"


def test_an_oauth_code_comes_in_and_is_neither_passed_on_nor_written_down(edge: Edge) -> None:
    code = f"code-{uuid4().hex}"
    # Vendors send more than the protocol asks for.
    answer = edge.json("GET", f"/connect/callback?code={code}&state=s&session_state=x&authuser=0")
    assert answer.status == 200
    assert answer.seen["method"] == "/cordboard.auth.v1.ConnectService/HandleCallback"
    assert code not in json.dumps(answer.seen["metadata"])
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    # The line is there, and holds the path alone.
    wait_for(lambda: "HandleCallback" in edge.log.read_text(), edge.log)
    assert code not in edge.log.read_text()


@pytest.mark.parametrize("path", ["forms/action.x", "forms/action.x:document", "queryEditor:render?target=1"])
def test_a_form_that_the_caller_has_is_answered_without_a_body(edge: Edge, path: str) -> None:
    token, path = edge.keys.token(), f"/v1/integrations/acme/{path}"
    again = edge.json("GET", path, token=token, **{"answer-with": "304", "if-none-match": '"a"'})
    assert (again.status, again.body) == (304, b"")
    assert not {"content-type", "cordboard-http-status"} & set(again.headers)
    assert again.seen["metadata"]["if-none-match"] == '"a"'
    assert again.seen["metadata"]["x-cordboard-over-http"] == "true"
    # The negative control: without that word of the service the same call has a body.
    first = edge.json("GET", path, token=token)
    assert (first.status, first.headers["content-type"]) == (200, "application/json")
    assert json.loads(first.body)


def test_nobody_but_envoy_says_that_a_call_came_over_http_or_what_its_status_is(edge: Edge) -> None:
    said = {"x-cordboard-over-http": "true", "answer-with": "304"}
    found = edge.json("GET", "/v1/integrations/acme/forms", token=edge.keys.token(), **said)
    assert "x-cordboard-over-http" not in found.seen["metadata"]
    assert (found.status, found.headers["cordboard-http-status"]) == (200, "304")


def test_who_signs_in_needs_no_token_and_brings_cookies(edge: Edge) -> None:
    code = f"code-{uuid4().hex}"
    back = edge.json("GET", f"/login/callback?code={code}&state=s&session_state=x", cookie="__Host-cordboard-login=abc")
    assert back.seen["method"] == "/cordboard.auth.v1.LoginService/HandleLoginCallback"
    assert back.seen["metadata"]["cookie"] == "__Host-cordboard-login=abc"
    assert code not in json.dumps(back.seen["metadata"])
    assert (back.headers["cache-control"], back.headers["referrer-policy"]) == ("no-store", "no-referrer")
    for path, method in (
        ("/v1/logins", "BeginLogin"), ("/v1/logins:complete", "CompleteLogin"),
        ("/v1/sessions:token", "IssueSessionToken"), ("/v1/sessions:end", "EndSession"),
        ("/v1/sessions:open", "OpenSession"),
    ):  # fmt: skip
        answer = edge.json("POST", path, {}, cookie="a=b")
        assert answer.seen["method"] == f"/cordboard.auth.v1.LoginService/{method}"
        # Counted by address, for there is no workspace to count under.
        assert answer.headers["x-ratelimit-limit"].startswith("100")
    assert edge.grpc("/cordboard.auth.v1.LoginService/CompleteLogin")["service"] == "auth"
    wait_for(lambda: "HandleLoginCallback" in edge.log.read_text(), edge.log)
    assert code not in edge.log.read_text()


def test_a_refused_call_leaves_no_query_and_no_token_in_the_log(edge: Edge) -> None:
    canary = f"canary-{uuid4().hex}"
    assert edge.json("GET", f"/v1/integrations?filter={canary}", token=canary).status in (400, 401)
    assert edge.json("GET", f"/v1/nowhere/{uuid4().hex}?secret={canary}").status == 404
    marker = uuid4().hex
    edge.json("GET", f"/v1/nowhere/{marker}")
    wait_for(lambda: marker in edge.log.read_text(), edge.log)
    assert canary not in edge.log.read_text()


def test_a_call_is_in_one_trace_with_its_caller_and_its_service(edge: Edge) -> None:
    trace, parent, code = uuid4().hex, uuid4().hex[:16], f"code-{uuid4().hex}"
    answer = edge.json("GET", f"/connect/callback?code={code}&state=s", traceparent=f"00-{trace}-{parent}-01")
    wait_for(lambda: len(edge.spans(trace)) == 2, edge.log)
    outer, inner = sorted(edge.spans(trace), key=lambda span: span["parent"] != parent)
    assert (outer["service.name"], outer["parent"], inner["parent"]) == ("envoy", parent, outer["id"])
    assert answer.seen["metadata"]["traceparent"].split("-")[1:3] == [trace, inner["id"]]
    assert code not in json.dumps([outer, inner])


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_caller_neither_forces_a_record_nor_forbids_one(edge: Edge, flags: str) -> None:
    trace, parent = uuid4().hex, uuid4().hex[:16]
    seen = edge.grpc(
        LIST,
        edge.keys.token(),
        traceparent=f"00-{trace}-{parent}-{flags}",
        tracestate="theirs=canary-state",
        baggage="user=canary-baggage",
        x_client_trace_id="canary-client",
        x_envoy_force_trace="true",
    )
    wait_for(lambda: len(edge.spans(trace)) == 2, edge.log)
    # The flag is Envoy's own: who is behind it decides what is kept.
    assert seen["metadata"]["traceparent"].startswith(f"00-{trace}-")
    assert seen["metadata"]["traceparent"].endswith("-01")
    assert "canary" not in json.dumps([seen["metadata"], edge.spans(trace)])
    assert not {"baggage", "x-client-trace-id", "x-envoy-force-trace"} & set(seen["metadata"])
    # The negative control: what is none of these passes.
    assert edge.grpc(LIST, edge.keys.token(), x_other="canary")["metadata"]["x-other"] == "canary"


def test_envoy_takes_the_configuration_with_which_callers_decide_and_all_calls_are_logged(
    identities: Identities, tmp_path: Path
) -> None:
    layout = EnvoyLayout(
        public_port=8443,
        services=dict.fromkeys(SERVICES, 9000),
        identities=identities.directory("envoy").parent,
        sockets=tmp_path,
        directory=tmp_path / "envoy",
        descriptors=envoy.descriptors(),
        rate_limit=RateLimit(),
        callers_decide=True,
        logs_all=True,
    )
    file = envoy.fit(layout)
    provider = json.loads(file.read_text())["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][-1][
        "typed_config"
    ]["tracing"]["provider"]["typed_config"]
    assert provider["sampler"]["name"] == "envoy.tracers.opentelemetry.samplers.parent_based"
    [log] = [
        each
        for each in json.loads(file.read_text())["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][-1][
            "typed_config"
        ]["access_log"]
        if each["name"] == envoy.OTLP_LOG
    ]
    assert log["filter"] == {"not_health_check_filter": {}}
    program, *arguments = envoy.command(file)
    subprocess.run((program, "--mode", "validate", *arguments), check=True, capture_output=True, timeout=60)


def test_what_failed_is_told_to_telemetry_with_its_trace_and_without_secrets(edge: Edge) -> None:
    fine, failed, refused, canary = (uuid4().hex for _ in range(4))

    def traced(trace: str) -> str:
        return f"00-{trace}-{uuid4().hex[:16]}-01"

    edge.grpc(LIST, edge.keys.token(workspace="ws-fine"), traceparent=traced(fine))
    code, _ = refusal(
        lambda: edge.grpc(
            EXECUTE, edge.keys.token(workspace="ws-logged"), traceparent=traced(failed), fail_with="FAILED_PRECONDITION"
        )
    )
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    edge.json("GET", f"/v1/integrations?filter={canary}", token=canary, traceparent=traced(refused))

    def told() -> bool:
        return {failed, refused} <= {line["trace"] for line in edge.lines()}

    wait_for(told, edge.log)
    lines = {line["trace"]: line for line in edge.lines()}
    # It was sent before the others, which are there.
    assert fine not in lines
    line = lines[failed]
    assert (line["service.name"], line["body"], line["url.path"]) == ("envoy", "call answered", EXECUTE)
    assert (line["rpc.response.status_code"], line["cordboard.workspace"]) == ("FAILED_PRECONDITION", "ws-logged")
    assert (line["upstream"], line["http.request.method"]) == ("proxy", "POST")
    assert int(line["duration_ms"]) >= 0
    assert lines[refused]["http.response.status_code"] in ("400", "401")
    assert canary not in json.dumps(edge.lines())


def test_a_span_names_the_workspace(edge: Edge) -> None:
    trace = uuid4().hex
    edge.grpc(LIST, edge.keys.token(workspace="ws-traced"), traceparent=f"00-{trace}-{uuid4().hex[:16]}-01")
    wait_for(lambda: any(span.get("cordboard.workspace") == "ws-traced" for span in edge.spans(trace)), edge.log)


def test_headers_of_the_mesh_are_taken_from_outsiders(edge: Edge) -> None:
    seen = edge.grpc(LIST, edge.keys.token(), x_cordboard_workspace="somebody-else", x_other="stays")
    assert "x-cordboard-workspace" not in seen["metadata"]
    assert seen["metadata"]["x-other"] == "stays"


def test_an_api_key_passes_to_its_service_and_nothing_else_does_with_it(edge: Edge) -> None:
    key = f"cbk_production_{uuid4().hex}"
    assert edge.grpc(LIST, x_api_key=key)["metadata"]["x-api-key"] == key
    assert edge.grpc(LIST, key)["metadata"]["authorization"] == f"Bearer {key}"
    # A token beside a key is checked as ever.
    for token in ("a.b.c", edge.keys.token(exp=1)):
        code, _ = refusal(lambda token=token: edge.grpc(LIST, token, x_api_key=key))  # type: ignore[misc]
        assert code is grpc.StatusCode.UNAUTHENTICATED
    for other in (f"x{key}", key.upper(), "cb_x"):
        code, _ = refusal(lambda other=other: edge.grpc(LIST, other))  # type: ignore[misc]
        assert code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_an_api_key_that_calls_too_often_is_refused_alone(edge: Edge, header: str) -> None:
    busy, quiet = (f"cbk_production_{uuid4().hex}" for _ in range(2))
    prefix = "Bearer " if header == "authorization" else ""

    def status(key: str) -> int:
        return edge.request("GET", "/v1/integrations", headers={header: f"{prefix}{key}"}).status

    assert 429 in [status(busy) for _ in range(40)]
    assert status(quiet) == 200
    assert edge.json("GET", "/v1/integrations", token=edge.keys.token()).status == 200


def test_only_the_certificate_that_was_shown_is_told_to_services(edge: Edge, identities: Identities) -> None:
    forged = f"By=spiffe://cordboard/envoy;Hash={'ab' * 32}"
    seen = edge.grpc(LIST, edge.keys.token(), x_forwarded_client_cert=forged)
    assert "x-forwarded-client-cert" not in seen["metadata"]
    shown = identities.directory("operator")
    leaf = x509.load_pem_x509_certificate((shown / "tls.crt").read_bytes())
    credentials = grpc.ssl_channel_credentials(
        edge.ca_file.read_bytes(), (shown / "tls.key").read_bytes(), (shown / "tls.crt").read_bytes()
    )
    with grpc.secure_channel(f"localhost:{edge.port}", credentials) as channel:
        metadata = (("authorization", f"Bearer {edge.keys.token()}"), ("x-forwarded-client-cert", forged))
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LIST)
        _, call = method.with_call(b"", metadata=metadata, timeout=20)
        told = json.loads(dict(call.initial_metadata())["x-seen"])["metadata"]["x-forwarded-client-cert"]
    assert told.split(";")[-1] == f"Hash={leaf.fingerprint(hashes.SHA256()).hex()}"
    assert "," not in told


def test_a_certificate_of_another_authority_is_not_taken(edge: Edge, foreign_identities: Identities) -> None:
    shown = foreign_identities.directory("operator")
    context = ssl.create_default_context(cafile=str(edge.ca_file))
    context.load_cert_chain(shown / "tls.crt", shown / "tls.key")
    connection = http.client.HTTPSConnection("localhost", edge.port, context=context, timeout=20)
    with pytest.raises((ssl.SSLError, OSError)):
        connection.request("GET", "/healthz")
        connection.getresponse()
    connection.close()


def test_a_workspace_that_calls_too_often_is_refused_alone(edge: Edge) -> None:
    busy, quiet = edge.keys.token(workspace="ws-busy"), edge.keys.token(workspace="ws-quiet")
    refused = None
    for _ in range(40):
        answer = edge.json("GET", "/v1/integrations", token=busy)
        if answer.status != 200:
            refused = answer
            break
    assert refused is not None
    assert refused.status == 429
    assert json.loads(refused.body)["code"] == 8
    assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"} <= set(refused.headers)
    code, _ = refusal(lambda: [edge.grpc(LIST, busy) for _ in range(20)])
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert edge.json("GET", "/v1/integrations", token=quiet).status == 200
    wait_for(lambda: edge.json("GET", "/v1/integrations", token=busy).status == 200, edge.log)


def test_the_public_paths_are_limited_by_address(edge: Edge) -> None:
    assert set(edge.flood("/connect/callback?code=a&state=b")) == {200, 429}
    wait_for(lambda: edge.json("GET", "/connect/callback?code=a&state=b").status == 200, edge.log)


@pytest.mark.parametrize(
    ("path", "megabytes", "fits"),
    [(LIST, 3, True), (LIST, 5, False), (PUBLISH, 5, True), (PUBLISH, 31, True), (PUBLISH, 33, False)],
)
def test_a_body_has_a_limit_by_method(edge: Edge, path: str, megabytes: int, *, fits: bool) -> None:
    request = b"\x0a" * (megabytes * 1024 * 1024)
    if fits:
        assert edge.grpc(path, edge.keys.token(), request)["request_bytes"] == len(request)
    else:
        assert refusal(lambda: edge.grpc(path, edge.keys.token(), request))[0] is not grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("path", "field", "megabytes", "status"),
    [
        ("/v1/integrations:publish", "definition", 20, 200),
        ("/v1/integrations:publish", "definition", 33, 413),
        ("/v1/tokens:issue", "subject", 5, 413),
    ],
)
def test_a_json_body_has_the_limit_of_its_method(
    edge: Edge, path: str, field: str, megabytes: int, status: int
) -> None:
    answer = edge.json("POST", path, {field: "x" * (megabytes * 1024 * 1024)}, token=edge.keys.token())
    assert answer.status == status, answer.body[:300]


def test_a_request_whose_body_does_not_come_takes_no_place_at_its_service(edge: Edge) -> None:
    active = "cluster.catalog.upstream_rq_active"
    context = ssl.create_default_context(cafile=str(edge.ca_file))
    token = edge.keys.token()

    def begun(path: str, content_type: str) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("localhost", edge.port, context=context, timeout=60)
        connection.putrequest("POST", path)
        for name, value in {"authorization": f"Bearer {token}", "content-type": content_type}.items():
            connection.putheader(name, value)
        connection.putheader("content-length", "2")
        connection.endheaders()
        return connection

    before = edge.stat("http.edge.downstream_rq_total$")["http.edge.downstream_rq_total"]
    waiting = [begun("/v1/integrations:publish", "application/json") for _ in range(20)]
    wait_for(
        lambda: edge.stat("http.edge.downstream_rq_total$")["http.edge.downstream_rq_total"] >= before + 20, edge.log
    )
    assert edge.json("GET", "/v1/integrations", token=edge.keys.token()).status == 200
    assert edge.stat(f"^{active}$")[active] == 0
    # What streams is at its service at once: that is how it would be seen.
    stream = begun("/cordboard.catalog.v1.SyncService/WatchDeltas", "application/grpc")
    wait_for(lambda: edge.stat(f"^{active}$")[active] == 1, edge.log)
    stream.close()
    for connection in waiting:
        connection.send(b"{}")
        assert connection.getresponse().status in {200, 429}
        connection.close()


def test_a_call_that_found_no_answer_is_repeated_where_that_is_safe(edge: Edge) -> None:
    key = uuid4().hex
    assert edge.grpc(LIST, edge.keys.token(), fail_with="UNAVAILABLE", fail_times="1", fail_key=key)["attempts"] == 2


def test_a_call_that_the_proxy_has_seen_is_not_repeated(edge: Edge) -> None:
    key = uuid4().hex
    token = edge.keys.token()
    code, _ = refusal(lambda: edge.grpc(EXECUTE, token, fail_with="UNAVAILABLE", fail_times="1", fail_key=key))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert edge.grpc(EXECUTE, token, fail_key=key)["attempts"] == 2


def test_a_deadline_travels_and_is_bounded(edge: Edge) -> None:
    with edge.channel() as channel:
        metadata = (("authorization", f"Bearer {edge.keys.token()}"),)
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LIST)
        remaining = []
        for timeout in (5.0, 3600.0):
            _, call = method.with_call(b"", metadata=metadata, timeout=timeout)
            remaining.append(json.loads(dict(call.initial_metadata())["x-seen"])["time_remaining"])
    assert 0 < remaining[0] <= 5
    assert 5 < remaining[1] <= 31


def test_a_service_that_cannot_serve_gets_no_calls_until_it_can(edge: Edge) -> None:
    down = edge.folder / "uqi.down"
    token = edge.keys.token()
    down.touch()
    wait_for(lambda: edge.request("GET", "/readyz").status == 503, edge.log)
    code, text = refusal(lambda: edge.grpc("/cordboard.uqi.v1.FormService/GetForm", token))
    assert (code, text) == (grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
    down.unlink()
    wait_for(lambda: edge.request("GET", "/readyz").status == 200, edge.log)
    assert edge.grpc("/cordboard.uqi.v1.FormService/GetForm", token)["service"] == "uqi"


def test_a_server_with_another_services_certificate_is_not_believed(identities: Identities, edge: Edge) -> None:
    identities.issue(Identity("flags", "proxy", ("flags.cordboard.internal",), ("127.0.0.1",)))
    assert sum(edge.stat("cluster.flags.ssl.fail_verify_san").values()) == 0
    ports = Ports()
    root = identities.directory("envoy").parent
    layout = EnvoyLayout(
        public_port=ports.claim(),
        services=dict.fromkeys(SERVICES, ports.claim()),
        identities=root,
        sockets=edge.folder / "second",
        directory=edge.folder / "second" / "envoy",
        descriptors=envoy.descriptors(),
        rate_limit=RateLimit(),
    )
    layout.sockets.mkdir()
    log = edge.folder / "second.log"
    commands = (
        (sys.executable, str(STAND_IN), str(root), str(edge.folder), f"flags=127.0.0.1:{layout.services['flags']}"),
        envoy.command(with_small_flood(envoy.fit(layout))),
    )
    with log.open("wb") as output:
        running = [subprocess.Popen(command, stdout=output, stderr=output) for command in commands]
    second = Edge(layout.public_port, identities.ca_file, edge.keys, edge.folder, layout.admin_socket, log)
    try:
        wait_for(lambda: sum(second.stat("cluster.flags.ssl.fail_verify_san").values()) > 0, log)
        # The same server is who it says to those that look for `proxy`: the name is what was refused.
        wait_for(lambda: sum(second.stat("cluster.proxy.health_check.success").values()) > 0, log)
    finally:
        for process in running:
            process.terminate()
            process.wait()
        ports.release()
        identities.issue(Identity("flags", "flags", ("flags.cordboard.internal", "localhost"), ("127.0.0.1",)))


def test_certificates_rotate_under_a_running_envoy(identities: Identities, edge: Edge) -> None:
    def serial() -> str:
        context = ssl.create_default_context(cafile=str(edge.ca_file))
        connection = http.client.HTTPSConnection("localhost", edge.port, context=context, timeout=5)
        connection.connect()
        certificate: Any = connection.sock.getpeercert()
        connection.close()
        return str(certificate["serialNumber"])

    before = serial()
    assert serial() == before
    identities.rotate()
    wait_for(lambda: serial() != before, edge.log)
    assert edge.grpc(LIST, edge.keys.token())["service"] == "catalog"


def test_the_admin_interface_answers_questions_and_takes_no_orders(edge: Edge) -> None:
    assert asyncio.run(probes.answer_of_socket(edge.admin_socket, "/ready")) == "LIVE\n"
    for path in ("/config_dump", "/runtime", "/quitquitquit", "/"):
        assert asyncio.run(probes.answer_of_socket(edge.admin_socket, path)) is None


def declared_services() -> dict[str, descriptor_pb2.ServiceDescriptorProto]:
    """Returns every service of our protos by full name."""
    files = descriptor_pb2.FileDescriptorSet.FromString(envoy.descriptors().read_bytes())
    return {
        f"{file.package}.{service.name}": service
        for file in files.file
        if file.package.startswith("cordboard.")
        for service in file.service
    }


def configured() -> dict[str, Any]:
    """Returns the connection settings of the public listener as they stand in the repository."""
    content = yaml.safe_load((envoy.configuration() / "envoy.yaml").read_text())
    return dict(content["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][-1]["typed_config"])


def http_filter(name: str) -> dict[str, Any]:
    """Returns the settings of one HTTP filter."""
    [found] = [entry["typed_config"] for entry in configured()["http_filters"] if entry["name"] == name]
    return dict(found)


def test_every_service_is_either_public_or_for_peers_alone() -> None:
    listed = set(http_filter("envoy.filters.http.grpc_json_transcoder")["services"])
    routes = configured()["route_config"]["virtual_hosts"][0]["routes"]
    routed = {route["match"].get("prefix", "").strip("/") for route in routes}
    for name, service in declared_services().items():
        rules = [method.options.Extensions[options_pb2.access] for method in service.method]
        assert (name in routed) == any(rule.roles or rule.public for rule in rules), name
        as_json = any(method.options.HasExtension(HTTP) for method in service.method)
        assert (name in listed) == (name in routed and as_json), name


def test_the_paths_without_a_token_are_the_rpcs_that_say_so() -> None:
    public = {
        f"/{name}/{method.name}"
        for name, service in declared_services().items()
        for method in service.method
        if method.options.Extensions[options_pb2.access].public
    }
    rules = http_filter("envoy.filters.http.jwt_authn")["rules"]
    without = {rule["match"]["path"] for rule in rules if "requirement_name" not in rule and "path" in rule["match"]}
    assert {path for path in without if path.startswith("/cordboard.")} == public
    assert rules[-1] == {"match": {"prefix": "/"}, "requirement_name": "workspace"}


def test_every_stream_has_a_route_without_an_end() -> None:
    routes = configured()["route_config"]["virtual_hosts"][0]["routes"]
    listed = set(http_filter("envoy.filters.http.grpc_json_transcoder")["services"])
    for name, service in declared_services().items():
        for method in service.method if name in listed else ():
            path = f"/{name}/{method.name}"
            [first, *_] = [route for route in routes if matches(route["match"], path)]
            assert (first["route"]["timeout"] == "0s") == method.server_streaming, path


def test_every_call_that_is_no_stream_is_over_in_time_whatever_its_caller_does() -> None:
    routes = configured()["route_config"]["virtual_hosts"][0]["routes"]
    for route in routes:
        taken = route.get("route", {"timeout": "0s"})
        # `timeout` begins when a request is whole, and some never are.
        assert ("max_stream_duration" in taken.get("max_stream_duration", {})) == (taken["timeout"] != "0s"), route


def test_requests_are_taken_whole_unless_they_stream() -> None:
    routes = configured()["route_config"]["virtual_hosts"][0]["routes"]
    buffer = "envoy.filters.http.buffer"
    assert "disabled" not in next(entry for entry in configured()["http_filters"] if entry["name"] == buffer)
    streams = set()
    for name, service in declared_services().items():
        for method in service.method:
            path = f"/{name}/{method.name}"
            first: dict[str, Any] = next((route for route in routes if matches(route["match"], path)), {})
            if method.client_streaming and first:
                streams.add(first["name"])
                assert first["typed_per_filter_config"][buffer]["disabled"], path
    off = {route["name"] for route in routes if buffer in route.get("typed_per_filter_config", {})}
    assert off == {*streams, "forward"}


def matches(match: Mapping[str, Any], path: str) -> bool:
    """Says whether Envoy would take this route for `path`."""
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"], path) is not None
    return path == match["path"] if "path" in match else path.startswith(match["prefix"])


# The last one here: it leaves an empty bucket behind.
def test_a_flood_of_bad_tokens_from_one_address_ends_before_they_are_checked(edge: Edge) -> None:
    names = [entry["name"] for entry in configured()["http_filters"]]
    assert names.index("flood") < names.index("envoy.filters.http.jwt_authn")

    # Refused for what they are at first, and then without being looked at.
    assert set(edge.flood("/v1/integrations", authorization="Bearer a.b.c")) == {401, 429}
    assert edge.stat("flood.http_local_rate_limit.enforced")
    wait_for(lambda: edge.json("GET", "/v1/integrations", token=edge.keys.token()).status == 200, edge.log)
