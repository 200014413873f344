"""Questions about tokens and permissions: answered from what is known, nothing is stored.

TokenRequest, TokenReview, SelfSubjectReview and the SubjectAccessReviews. What is allowed is what
the server's authorizer lets pass: the same door that every request goes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.api import (
    auth,
    authorization,
    bodies,
    negotiation,
    options,
    responses,
    service_tokens,
)
from edgeorch.core import rbac
from edgeorch.lib import clock as clocks
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    import datetime

    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model import schema
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

TOKEN_REQUEST = kinds.Kind(
    "authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest", True
)
_HOUR = 3600
_LEAST, _MOST = 600, 1 << 32


class Reviews:
    def __init__(
        self,
        objects: Objects,
        table: schema.Schema,
        authenticator: auth.Authenticator,
        authorizer: authorization.Authorizer,
    ) -> None:
        self._objects = objects
        self._table = table
        self._authenticator = authenticator
        self._authorizer = authorizer

    async def serve(self, call: Call, target: Target, now: datetime.datetime) -> web.StreamResponse:
        """Raises StatusError."""
        shape = negotiation.choose(call.header("Accept"), shapes=False)
        asked = options.writing(call)
        kind = TOKEN_REQUEST if target.subresource == "token" else target.kind
        obj, duplicates = await bodies.decode(call, self._table, kind.kind)
        obj = bodies.conform(call, self._table, kind, obj, duplicates, asked.validation)
        spec = obj.get("spec") or {}
        match kind.kind:
            case "TokenRequest":
                obj = self._token(target, obj, spec, now)
            case "TokenReview":
                obj = {**obj, "status": self._reviewed(spec)}
            case "SelfSubjectReview":
                stamp = {**obj.get("metadata", {}), "creationTimestamp": clocks.rfc3339(now)}
                obj = {**obj, "metadata": stamp, "status": {"userInfo": _told(call.user)}}
            case "SelfSubjectRulesReview":
                obj = {**obj, "status": self._rules(call, spec)}
            case _:
                obj = {**obj, "status": self._access(call, target, obj, spec)}
        obj.setdefault("metadata", {}).setdefault("creationTimestamp", None)
        return await responses.obj(call, obj, code=201, media=shape.media)

    # --- tokens ---------------------------------------------------------------------------------

    def _token(self, target: Target, obj: Object, spec: Object, now: datetime.datetime) -> Object:
        issuer = self._authenticator.service_tokens
        if issuer is None:
            raise errors.unavailable("this server issues no tokens")
        account = self._objects.get(target.kind.resource, *target.key).decode()
        seconds = spec.get("expirationSeconds")
        seconds = _HOUR if seconds is None else seconds
        if causes := _duration(seconds):
            name = (obj.get("metadata") or {}).get("name", "")
            raise errors.invalid("TokenRequest", TOKEN_REQUEST.group, name, causes)
        audiences = spec.get("audiences") or [service_tokens.AUDIENCE]
        pod = self._bound(target, spec.get("boundObjectRef"))
        token, expires = issuer.issue(account, audiences, seconds, pod)
        meta = {
            **(obj.get("metadata") or {}),
            "name": target.name,
            "namespace": target.namespace,
            "creationTimestamp": clocks.rfc3339(now),
        }
        return {
            **obj,
            "metadata": meta,
            "spec": {"boundObjectRef": None, **spec, "audiences": audiences}
            | {"expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": clocks.rfc3339(expires)},
        }

    def _bound(self, target: Target, ref: Object | None) -> Object | None:
        if not ref:
            return None
        if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod"):
            what = f"{ref.get('apiVersion', '')}, Kind={ref.get('kind', '')}"
            raise errors.bad_request(f"cannot bind token to object of type {what}")
        namespace, name = target.namespace or "", ref.get("name", "")
        pod = self._objects.get(kinds.POD.resource, namespace, name).decode()
        actual = pod["metadata"]["uid"]
        if ref.get("uid") and ref["uid"] != actual:
            why = (
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in "
                f"record. The object might have been deleted and then recreated"
            )
            raise errors.conflict(kinds.POD.resource, name, why)
        if (pod["spec"].get("serviceAccountName") or "default") != target.name:
            raise errors.bad_request(
                f'cannot bind token for serviceaccount "{target.name}" to pod running with '
                "different serviceaccount name."
            )
        return pod

    def _reviewed(self, spec: Object) -> Object:
        token = spec.get("token") or ""
        wanted = spec.get("audiences") or list(service_tokens.AUDIENCES)
        user, audiences = self._authenticator.review(token, wanted)
        if user is None:
            return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": _told(user), "audiences": audiences}

    # --- permissions ----------------------------------------------------------------------------

    def _access(self, call: Call, target: Target, obj: Object, spec: Object) -> Object:
        causes = []
        resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if (resource is None) == (other is None):
            why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            causes.append(errors.invalid_value("spec.resourceAttributes", None, why))
        user = call.user
        if target.kind.kind != kinds.SELF_ACCESS_REVIEW.kind:
            user = auth.User(spec.get("user") or "", tuple(spec.get("groups") or ()))
            if not user.name and not user.groups:
                why = "at least one of user or group must be specified"
                causes.append(errors.invalid_value("spec.user", "", why))
        if target.kind is kinds.LOCAL_ACCESS_REVIEW:
            bodies.check_place(target.namespace, "", obj)
            if (resource or {}).get("namespace", target.namespace) != target.namespace:
                causes.append(
                    errors.invalid_value(
                        "spec.resourceAttributes.namespace",
                        (resource or {})["namespace"],
                        f"must match metadata.namespace: {target.namespace}",
                    )
                )
        if causes:
            raise errors.invalid(target.kind.kind, target.kind.group, "", causes)
        return self._allowed(user, resource, other or {})

    def _allowed(self, user: auth.User, resource: Object | None, other: Object) -> Object:
        return {"allowed": self._authorizer.allowed(user, _asked(resource, other))}

    def _rules(self, call: Call, spec: Object) -> Object:
        namespace = spec.get("namespace")
        if not namespace:
            raise errors.bad_request("no namespace on request")
        found = self._authorizer.permissions(call.user).rules(namespace)
        return {
            "resourceRules": [_resource_rule(rule) for rule in found if rule.resources],
            "nonResourceRules": [
                {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.paths)}
                for rule in found
                if rule.paths
            ],
            "incomplete": False,
        }


def _asked(resource: Object | None, other: Object) -> rbac.Asked:
    if resource is None:
        return rbac.Asked(other.get("verb") or "", path=other.get("path") or "/")
    return rbac.Asked(
        verb=resource.get("verb") or "",
        group=resource.get("group") or "",
        resource=resource.get("resource") or "",
        subresource=resource.get("subresource") or "",
        namespace=resource.get("namespace") or "",
        name=resource.get("name") or "",
    )


def _resource_rule(rule: rbac.Rule) -> Object:
    found: Object = {
        "verbs": list(rule.verbs),
        "apiGroups": list(rule.groups),
        "resources": list(rule.resources),
    }
    return {**found, "resourceNames": list(rule.names)} if rule.names else found


def _duration(seconds: int) -> list[errors.Cause]:
    path = "spec.expirationSeconds"
    if seconds < _LEAST:
        why = "may not specify a duration less than 10 minutes"
        return [errors.invalid_value(path, seconds, why)]
    if seconds > _MOST:
        why = "may not specify a duration larger than 2^32 seconds"
        return [errors.invalid_value(path, seconds, why)]
    return []


def _told(user: auth.User) -> Object:
    """authentication.k8s.io UserInfo."""
    found: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        found["uid"] = user.uid
    if user.extra:
        found["extra"] = {name: list(values) for name, values in user.extra}
    return found
