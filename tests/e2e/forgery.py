"""Tokens that must not be taken: each is wrong in one way, and most are signed with the mesh's own key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.algorithms import RSAAlgorithm

ISSUER: Final = "https://auth.cordboard.internal"
DEEP: Final = 2_500


@dataclass(frozen=True)
class Forger:
    """Makes tokens by hand, with the mesh's own signing key and with others."""

    key: rsa.RSAPrivateKey
    kid: str

    def header(self, **changes: Any) -> dict[str, Any]:
        """Returns a good header, changed; None takes a member out."""
        return _changed({"alg": "RS256", "typ": "at+jwt", "kid": self.kid}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Returns an operator's claims, changed; None takes a claim out."""
        now = int(time.time())
        good = {
            "iss": ISSUER, "aud": "cordboard", "sub": "forger", "client_id": "forger", "jti": "0123456789", "iat": now,
            "nbf": now, "exp": now + 600, "workspace": "", "environment": "", "customer": "", "tier": "", "region": "",
            "roles": ["operator"],
        }  # fmt: skip
        return _changed(good, changes)

    def good(self) -> str:
        """Returns the token that all others are bad copies of: it is taken."""
        return self.token()

    def token(self, header: Any = None, claims: Any = None, key: rsa.RSAPrivateKey | None = None) -> str:
        """Returns a token of this header and these claims (values, or JSON text as it is), signed with RS256."""
        signed = (
            f"{_part(self.header() if header is None else header)}.{_part(self.claims() if claims is None else claims)}"
        )
        signature = (key or self.key).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"

    def bad(self) -> Iterator[tuple[str, str]]:
        """Yields every bad token, with what is wrong with it."""
        yield from self._algorithms()
        yield from self._keys()
        yield from self._headers()
        yield from self._times()
        yield from self._claims()
        yield from self._json()
        yield from self._shapes()

    def _algorithms(self) -> Iterator[tuple[str, str]]:
        claims = _part(self.claims())
        for name in ("none", "None", "NONE", "nOnE", ""):
            yield f"alg {name!r} without a signature", f"{_part(self.header(alg=name))}.{claims}."
            yield f"alg {name!r} with a signature", self.token(self.header(alg=name))
        yield "no alg", self.token(self.header(alg=None))
        public = self.key.public_key()
        secrets = {
            "SubjectPublicKeyInfo as PEM": public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
            "PKCS1 as PEM": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
            "the modulus": RSAAlgorithm.to_jwk(public, as_dict=True)["n"].encode(),
            "nothing": b"",
        }
        for name, secret in secrets.items():
            signed = f"{_part(self.header(alg='HS256'))}.{claims}"
            yield (
                f"HS256 with {name}",
                f"{signed}.{_encoded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}",
            )
        for name, digest in (("RS384", hashes.SHA384()), ("RS512", hashes.SHA512())):
            signed = f"{_part(self.header(alg=name))}.{claims}"
            yield name, f"{signed}.{_encoded(self.key.sign(signed.encode(), padding.PKCS1v15(), digest))}"
        signed = f"{_part(self.header(alg='PS256'))}.{claims}"
        salted = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        yield "PS256", f"{signed}.{_encoded(self.key.sign(signed.encode(), salted, hashes.SHA256()))}"
        yield "ES256 of zeroes", f"{_part(self.header(alg='ES256'))}.{claims}.{_encoded(bytes(64))}"
        yield "alg is a list", self.token(self.header(alg=["RS256"]))

    def _keys(self) -> Iterator[tuple[str, str]]:
        other = rsa.generate_private_key(65537, 2048)
        jwk = RSAAlgorithm.to_jwk(other.public_key(), as_dict=True)
        yield "another key under our kid", self.token(key=other)
        yield "another key and its jwk", self.token(self.header(jwk=jwk), key=other)
        yield "another key and its jwk alone", self.token(self.header(jwk=jwk, kid=None), key=other)
        yield "our key and a jwk", self.token(self.header(jwk=jwk))
        yield (
            "another key and a jku",
            self.token(self.header(jku="https://127.0.0.1/jwks.json", kid="theirs"), key=other),
        )
        yield "our key and a jku", self.token(self.header(jku="https://127.0.0.1/jwks.json"))
        yield "an x5u", self.token(self.header(x5u="https://127.0.0.1/x.pem"), key=other)
        yield "an x5c", self.token(self.header(x5c=["AAAA"]), key=other)
        for kid in ("theirs", "../../../dev/null", "' UNION SELECT 1 --", "", 7, ["a"], {"a": 1}, True):
            yield f"kid {kid!r}", self.token(self.header(kid=kid))
        yield "no kid", self.token(self.header(kid=None))

    def _headers(self) -> Iterator[tuple[str, str]]:
        for typ in ("JWT", "id+jwt", "application/at+jwt", "AT+JWT", ["at+jwt"], 1):
            yield f"typ {typ!r}", self.token(self.header(typ=typ))
        yield "no typ", self.token(self.header(typ=None))
        yield "crit that nobody knows", self.token(self.header(crit=["x"], x=1))
        yield "crit of a claim", self.token(self.header(crit=["exp"]))
        yield "an empty crit", self.token(self.header(crit=[]))
        yield "an unencoded payload", self.token(self.header(b64=False, crit=["b64"]))
        yield "a nested token's cty", self.token(self.header(cty="JWT"))
        yield "compressed", self.token(self.header(zip="DEF"))

    def _times(self) -> Iterator[tuple[str, str]]:
        now = int(time.time())
        expired = {"an hour ago": now - 3600, "a minute ago": now - 60, "at the beginning": 0, "before it": -1}
        for name, value in expired.items():
            yield f"expired {name}", self.token(claims=self.claims(exp=value))
        strange: tuple[Any, ...] = (
            str(now + 600), now + 600.5, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 10**19, 2**64, True, [], {},
        )  # fmt: skip
        for value in strange:
            yield f"exp {value!r}", self.token(claims=self.claims(exp=value))
        # The time is given: a moment later it may be another second, and nothing would be replaced.
        endless = _json(self.claims(exp=now + 600)).replace(f'"exp":{now + 600}', '"exp":1e400')
        yield "exp of 1e400", self.token(claims=endless)
        yield "no exp", self.token(claims=self.claims(exp=None))
        yield "a life of a day", self.token(claims=self.claims(exp=now + 86_400))
        yield "not valid before tomorrow", self.token(claims=self.claims(nbf=now + 86_400))
        yield "nbf is a text", self.token(claims=self.claims(nbf="now"))
        yield "issued tomorrow", self.token(claims=self.claims(iat=now + 86_400, exp=now + 87_000))
        yield "iat is a text", self.token(claims=self.claims(iat=str(now)))
        yield "no iat", self.token(claims=self.claims(iat=None))

    def _claims(self) -> Iterator[tuple[str, str]]:
        wrong: dict[str, tuple[Any, ...]] = {
            "iss": (None, "", "https://evil.example", ISSUER + "/", ISSUER.upper(), [ISSUER], 1),
            "aud": (None, "", "other", "cordboard ", ["other"], ["cordboard", "other"], {"a": "cordboard"}, 1),
            "sub": (None, "", "a\r\nx-evil: 1", "a\x00", "é", "x" * 300, 7, ["a"]),
            "jti": (None, "", 7, "x\ny"),
            "roles": (None, "operator", ["root"], [["operator"]], {"operator": True}, ["operator", 1], ["OPERATOR"]),
            "workspace": (7, ["a"], "a\r\nb", {"id": "a"}),
            "environment": (7, "a\nb"),
            "tier": (["business"], "x" * 300),
            "generation": (-1, 1.5, "0", True, [0]),
            "auth_time": (-1, "now", True),
            "api_key": (7, "a\nb"),
            "cnf": (
                "x",
                {},
                [],
                {"jkt": "A" * 43},
                {"x5t#S256": "x"},
                {"x5t#S256": ["A" * 43]},
                {"x5t#S256": ""},
                {"jkt": "B" * 43, "x5t#S256": "A" * 43},
                {"x5t#S256": "A" * 43},
            ),
        }
        for name, values in wrong.items():
            for value in values:
                yield f"{name} {str(value)[:40]!r}", self.token(claims=self.claims(**{name: value}))
        yield "a member of no workspace", self.token(claims=self.claims(roles=["member"]))

    def _json(self) -> Iterator[tuple[str, str]]:
        text = _json(self.claims())
        yield "roles twice", self.token(claims=text[:-1] + ',"roles":["operator"]}')
        yield "exp twice", self.token(claims=text[:-1] + f',"exp":{int(time.time()) + 500}}}')
        yield "alg twice", self.token(header=_json(self.header())[:-1] + ',"alg":"RS256"}')
        yield "claims are an array", self.token(claims="[1]")
        yield "claims are a text", self.token(claims='"cordboard"')
        yield "claims are nothing", self.token(claims="")
        yield "claims are no JSON", self.token(claims="{'sub':1}")
        yield "claims with more behind them", self.token(claims=text + "{}")
        yield "a header that is an array", self.token(header="[]")
        yield "a header that is no JSON", self.token(header="alg=RS256")
        yield "NaN", self.token(claims=text[:-1] + ',"x":NaN}')
        yield "deep claims", self.token(claims=text[:-1] + f',"x":{"[" * DEEP}{"]" * DEEP}}}')
        yield "a deep header", self.token(header=_json(self.header())[:-1] + f',"x":{"[" * DEEP}{"]" * DEEP}}}')
        yield "claims that are not UTF-8", self.token(claims=text.encode().replace(b"forger", b"forg\xff\xfe", 1))
        yield "claims with a byte order mark", self.token(claims=b"\xef\xbb\xbf" + text.encode())
        yield "claims in UTF-16", self.token(claims=text.encode("utf-16"))
        yield "a number of 5000 digits", self.token(claims=text[:-1] + f',"x":{"9" * 4400}}}')
        yield "claims of 7 KB", self.token(claims=self.claims(x="x" * 7000))

    def _shapes(self) -> Iterator[tuple[str, str]]:
        good = self.good()
        header, claims, signature = good.split(".")
        flipped = base64.urlsafe_b64decode(signature + "==")
        flipped = flipped[:40] + bytes([flipped[40] ^ 1]) + flipped[41:]
        strange = _part(self.claims(sub="somebody"))
        yield "one part", header
        yield "two parts", f"{header}.{claims}"
        yield "an empty signature", f"{header}.{claims}."
        yield "four parts", f"{good}.{signature}"
        yield "five parts, as an encrypted token", f"{header}.{claims}.{signature}.{claims}.{signature}"
        yield "a dot behind it", f"{good}."
        yield "a dot before it", f".{good}"
        yield "no dots", good.replace(".", "")
        yield "half a signature", f"{header}.{claims}.{signature[: len(signature) // 2]}"
        yield "a longer signature", f"{header}.{claims}.{signature}AAAA"
        yield "a bit of the signature flipped", f"{header}.{claims}.{_encoded(flipped)}"
        yield "other claims under the signature", f"{header}.{strange}.{signature}"
        yield (
            "claims with a character changed",
            f"{header}.{claims[:20]}{'A' if claims[20] != 'A' else 'B'}{claims[21:]}.{signature}",
        )
        yield "padding", f"{header}.{claims}=.{signature}=="
        yield "a space in the middle", f"{header}. {claims}.{signature}"
        yield "an asterisk in the signature", f"{header}.{claims}.*{signature[1:]}"
        yield "the standard alphabet", f"{header}.{claims}.{signature.replace('-', '+').replace('_', '/')}+/"
        yield "two tokens", f"{good},{good}"
        yield "not a token", "operator"
        yield "a JSON object", _json(self.claims())


def _changed(good: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (good | changes).items() if value is not None}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else (value if isinstance(value, str) else _json(value)).encode()
    return _encoded(raw)
