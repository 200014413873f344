"""Tokens of service accounts: issued by TokenRequest, accepted as bearer tokens.

JSON web tokens (RFC 7519) with Kubernetes' claims, signed with HMAC-SHA256 by a key of the
device's own: who issues is who verifies, so nobody needs a public key. A token lives as long as
its account, and the pod it is bound to, do; deleting those revokes it.

The clock of a device may be wrong at boot and jump later, so a token's life is counted by
CLOCK_BOOTTIME while the device is up (claims `edgeorch.boot`). After a reboot the wall clock has to
do; when it says less than at the time of issue it cannot be right, and the token is let live.
`nbf` is written for readers and never checked.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import uuid
from typing import TYPE_CHECKING

from edgeorch.api import auth
from edgeorch.lib import json
from edgeorch.model import kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeorch.lib import clock as clocks
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

AUDIENCE = "https://kubernetes.default.svc"
"""Both the issuer and the API's own audience."""
AUDIENCES = (AUDIENCE, "https://kubernetes.default.svc.cluster.local")
KEY_BYTES = 32
_CLAIM = "kubernetes.io"
_CREDENTIAL = "authentication.kubernetes.io/credential-id"
_POD = "authentication.kubernetes.io/pod-"
_SKEW = 10.0


class ServiceTokens:
    """`boot` tells one boot of the machine from another (/proc/sys/kernel/random/boot_id)."""

    def __init__(self, objects: Objects, key: bytes, clock: clocks.Clock, boot: str) -> None:
        self._objects = objects
        self._key = key
        self._clock = clock
        self._boot = boot
        self._kid = _text(hashlib.sha256(key).digest()[:8])

    def issue(
        self, account: Object, audiences: Sequence[str], seconds: int, pod: Object | None = None
    ) -> tuple[str, datetime.datetime]:
        """The token and when it expires."""
        meta = account["metadata"]
        now = self._clock.now()
        expires = now + datetime.timedelta(seconds=seconds)
        bound: Object = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if pod is not None:
            about = pod["metadata"]
            bound["pod"] = {"name": about["name"], "uid": about["uid"]}
        claims: Object = {
            "aud": list(audiences),
            "exp": int(expires.timestamp()),
            "iat": int(now.timestamp()),
            "iss": AUDIENCE,
            "jti": str(uuid.uuid4()),
            _CLAIM: bound,
            "nbf": int(now.timestamp()),
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
            "edgeorch": {"boot": self._boot, "until": self._clock.monotonic() + seconds},
        }
        head = {"alg": "HS256", "kid": self._kid}
        signed = f"{_text(json.encode(head))}.{_text(json.encode(claims))}"
        return f"{signed}.{_text(self._signature(signed))}", expires

    def identify(self, token: str, audiences: Sequence[str] = AUDIENCES) -> auth.User | None:
        """Whose token it is; None for one that is not ours, has run out or was revoked."""
        claims = self._claims(token)
        if claims is None or not set(claims["aud"]) & set(audiences) or self._expired(claims):
            return None
        bound = claims[_CLAIM]
        namespace, account, pod = bound["namespace"], bound["serviceaccount"], bound.get("pod")
        if not self._is_there(kinds.SERVICE_ACCOUNT, namespace, account):
            return None
        if pod is not None and not self._is_there(kinds.POD, namespace, pod):
            return None
        extra = [(_CREDENTIAL, (f"JTI={claims['jti']}",))]
        if pod is not None:
            extra += [(_POD + "name", (pod["name"],)), (_POD + "uid", (pod["uid"],))]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return auth.User(claims["sub"], (*groups, auth.AUTHENTICATED), account["uid"], tuple(extra))

    def audiences(self, token: str) -> list[str]:
        claims = self._claims(token)
        return list(claims["aud"]) if claims else []

    def _claims(self, token: str) -> Object | None:
        """What was signed; None when it was not, or not by this device."""
        signed, _, signature = token.rpartition(".")
        if signed.count(".") != 1 or not token.isascii():
            return None
        if not hmac.compare_digest(_text(self._signature(signed)), signature):
            return None
        try:
            found: Object = json.decode(_bytes(signed.partition(".")[2]))
        except (binascii.Error, ValueError):
            return None
        return found

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode(), "sha256")

    def _expired(self, claims: Object) -> bool:
        own = claims["edgeorch"]
        if own["boot"] == self._boot:
            return bool(self._clock.monotonic() > own["until"] + _SKEW)
        now = self._clock.now().timestamp()
        return bool(claims["exp"] + _SKEW < now)

    def _is_there(self, kind: kinds.Kind, namespace: str, ref: Object) -> bool:
        stored = self._objects.find(kind.resource, namespace, ref["name"])
        return stored is not None and stored.decode()["metadata"]["uid"] == ref["uid"]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
