"""What a token costs: issued by Auth, and verified by a service, against bare `cryptography`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench import processes
from bench.figures import Figure, Sample
from cordboard.auth.signing_keys import RSA_BITS
from cordboard.auth.v1 import token_service_pb2 as pb
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.common.v1 import options_pb2
from cordboard.core.tokens import TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.local.mesh import Mesh

TOKENS = 60
SIGNATURES = 300
KNOWN = 20_000
KNOWN_AIM_MICROSECONDS = 20.0


async def measure(mesh: Mesh, *, rounds: int) -> list[Figure]:
    """Measures rates of one caller at a time."""
    found: dict[str, list[float]] = {name: [] for name in ("issue", "sign", "verify", "bare verify", "known")}
    async with processes.channel(mesh.address("auth"), mesh.identity_dir("operator"), "auth.cordboard.internal") as one:
        stub = TokenServiceStub(one)
        jwks = (await stub.GetJwks(pb.GetJwksRequest(), timeout=10)).data.decode()
        request = pb.IssueTokenRequest(roles=[options_pb2.ROLE_OPERATOR])
        for _ in range(rounds):
            begun = time.perf_counter()
            made = [(await stub.IssueToken(request, timeout=10)).access_token for _ in range(TOKENS)]
            found["issue"].append(TOKENS / (time.perf_counter() - begun))
            found["verify"].append(await _verified(jwks, made))
            found["known"].append(await _known(jwks, made[0]))
            signed, verified = _bare(made[0])
            found["sign"].append(signed)
            found["bare verify"].append(verified)
    samples = {name: Sample(name, "/s", tuple(rates)) for name, rates in found.items() if name != "known"}
    known = Sample("known token", "µs", tuple(found["known"]))
    return [
        Figure("tokens issued, over bare signatures", samples["issue"], samples["sign"]),
        Figure("tokens verified, over bare verifications", samples["verify"], samples["bare verify"]),
        Figure("a known token verified again", known, aim=KNOWN_AIM_MICROSECONDS, better="lower"),
    ]


def _verifier(jwks: str) -> TokenVerifier:
    async def keys() -> str:
        return jwks

    return TokenVerifier(keys, "https://auth.cordboard.internal", "cordboard")


async def _verified(jwks: str, tokens: list[str]) -> float:
    verifier = _verifier(jwks)
    begun = time.perf_counter()
    for token in tokens:
        await verifier.verify(token, "envoy")
    return len(tokens) / (time.perf_counter() - begun)


async def _known(jwks: str, token: str) -> float:
    verifier = _verifier(jwks)
    await verifier.verify(token, "envoy")
    begun = time.perf_counter()
    for _ in range(KNOWN):
        await verifier.verify(token, "envoy")
    return (time.perf_counter() - begun) / KNOWN * 1e6


def _bare(token: str) -> tuple[float, float]:
    key = rsa.generate_private_key(65537, RSA_BITS)
    public = key.public_key()
    content = token.rpartition(".")[0].encode()
    signature = key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return (
        _rate(lambda: key.sign(content, padding.PKCS1v15(), hashes.SHA256())),
        _rate(lambda: public.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())),
    )


def _rate(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    for _ in range(SIGNATURES):
        work()
    return SIGNATURES / (time.perf_counter() - begun)
