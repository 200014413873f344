"""Tokens of service accounts: issued by TokenRequest, accepted as bearer tokens.

Pods get theirs mounted (`for_pod`), Secrets of type service-account-token written (`for_secret`).

JSON web tokens (RFC 7519) with Kubernetes' claims, signed with HMAC-SHA256 by a key of the
device's own: who issues is who verifies, so nobody needs a public key.

A token lives as long as its account, and the pod or Secret it is bound to, do; deleting those
revokes it.

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
    from edgeorch.model import views
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

AUDIENCE = "https://kubernetes.default.svc"
"""Both the issuer and the API's own audience."""
AUDIENCES = (AUDIENCE, "https://kubernetes.default.svc.cluster.local")
KEY_BYTES = 32
MOUNTED_SECONDS = 3607
"""The odd life that admission asks for; its tokens are renewed by then, but go on for a year, for
programs that read the file only once (Kubernetes' service-account-extend-token-expiration)."""
_YEAR = 365 * 24 * 3600
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
        expires = self._clock.now() + datetime.timedelta(seconds=seconds)
        return self._signed(account, audiences, seconds, pod=pod), expires

    def for_pod(self, pod: views.Pod, audience: str, seconds: int) -> str:
        """For a volume of the pod; an empty audience is the API's. Raises StatusError without the
        account."""
        meta, name = pod.metadata, pod.spec.service_account_name
        account = self._objects.get(kinds.SERVICE_ACCOUNT.resource, meta.namespace, name).decode()
        if seconds == MOUNTED_SECONDS and not audience:
            seconds = _YEAR
        bound = {"metadata": {"name": meta.name, "uid": meta.uid}}
        return self._signed(account, [audience or AUDIENCE], seconds, pod=bound)

    def for_secret(self, account: Object, secret: Object) -> str:
        """One that does not expire, as long as the Secret holds it."""
        return self._signed(account, [AUDIENCE], None, secret=secret)

    def _signed(
        self,
        account: Object,
        audiences: Sequence[str],
        seconds: int | None,
        **bound_to: Object | None,
    ) -> str:
        meta = account["metadata"]
        now = int(self._clock.now().timestamp())
        bound: Object = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        for kind, obj in bound_to.items():
            if obj is not None:
                bound[kind] = {key: obj["metadata"][key] for key in ("name", "uid")}
        claims: Object = {
            "aud": list(audiences),
            "iat": now,
            "iss": AUDIENCE,
            "jti": str(uuid.uuid4()),
            _CLAIM: bound,
            "nbf": now,
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
            "edgeorch": {"boot": self._boot},
        }
        if seconds is not None:
            claims["exp"] = now + seconds
            claims["edgeorch"]["until"] = self._clock.monotonic() + seconds
        head = {"alg": "HS256", "kid": self._kid}
        signed = f"{_text(json.encode(head))}.{_text(json.encode(claims))}"
        return f"{signed}.{_text(self._signature(signed))}"

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
        secret = bound.get("secret")
        if secret is not None and not self._is_held(token, namespace, secret):
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
        if "exp" not in claims:
            return False
        if own["boot"] == self._boot:
            return bool(self._clock.monotonic() > own["until"] + _SKEW)
        now = self._clock.now().timestamp()
        return bool(claims["exp"] + _SKEW < now)

    def _is_held(self, token: str, namespace: str, ref: Object) -> bool:
        """Whether the Secret is there and still has just this token."""
        stored = self._objects.find(kinds.SECRET.resource, namespace, ref["name"])
        if stored is None or stored.decode()["metadata"]["uid"] != ref["uid"]:
            return False
        held = (stored.decode().get("data") or {}).get("token", "")
        return hmac.compare_digest(held, base64.b64encode(token.encode()).decode())

    def _is_there(self, kind: kinds.Kind, namespace: str, ref: Object) -> bool:
        stored = self._objects.find(kind.resource, namespace, ref["name"])
        return stored is not None and stored.decode()["metadata"]["uid"] == ref["uid"]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
