"""Subresources that are no part of their object: scale, binding, finalize.

(status is an ordinary write of a part: `writes`; logs are `podlogs`.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.api import bodies, negotiation, options, patches, responses, statuses
from edgeorch.lib import clock as clocks
from edgeorch.model import errors, kinds, selectors

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable

    from aiohttp import web

    from edgeorch.api import books as bookkeeping
    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model import schema
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

SCALE = kinds.Kind("autoscaling", "v1", "Scale", "scales", "scale", True)
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(obj: Object) -> Object:
    """The autoscaling/v1 Scale that stands for a workload."""
    meta = obj["metadata"]
    selector = selectors.format_labels(selectors.of_selector(obj["spec"].get("selector") or {}))
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": {name: meta[name] for name in _COPIED if name in meta},
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": selector,
        },
    }


def _scaled(obj: Object, scale: Object) -> Object:
    """The workload as the Scale wants it. Raises StatusError (422)."""
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    _check_replicas(obj["metadata"]["name"], replicas)
    version = scale["metadata"].get("resourceVersion")
    meta = {**obj["metadata"], "resourceVersion": version or ""}
    return {**obj, "metadata": meta, "spec": {**obj["spec"], "replicas": replicas}}


def _check_replicas(name: str, replicas: int) -> None:
    """Raises StatusError (422)."""
    if replicas < 0:
        why = "must be greater than or equal to 0"
        cause = errors.invalid_value("spec.replicas", replicas, why)
        raise errors.invalid(SCALE.kind, SCALE.group, name, [cause])


class Subresources:
    def __init__(self, objects: Objects, table: schema.Schema, books: bookkeeping.Books) -> None:
        self._objects = objects
        self._table = table
        self._books = books

    async def get_scale(self, call: Call, target: Target) -> web.StreamResponse:
        shape = negotiation.choose(call.header("Accept"), shapes=False)
        stored = self._objects.get(target.kind.resource, *target.key)
        return await responses.obj(call, scale_of(stored.decode()), media=shape.media)

    async def write_scale(self, call: Call, target: Target) -> web.StreamResponse:
        """PUT and PATCH."""
        shape = negotiation.choose(call.header("Accept"), shapes=False)
        applying = call.verb == "patch" and patches.is_apply(call)
        asked = options.writing(call, applying=applying)
        if applying:
            change = await self._applied_scale(call, target, force=asked.force)
        elif call.verb == "patch":
            patch = await patches.read(call, self._table, SCALE)

            def change(current: Object) -> Object:
                scale, findings = patch.applied(scale_of(current))
                if findings and asked.validation == options.STRICT:
                    raise patch.refused(findings)
                bodies.tell(call, findings, asked.validation)
                bodies.check_place(target.namespace, target.name, scale)
                return self._booked(call, target, current, _scaled(current, scale))
        else:
            obj, duplicates = await bodies.decode(call, self._table, SCALE.kind)
            scale = bodies.conform(call, self._table, SCALE, obj, duplicates, asked.validation)
            bodies.check_place(target.namespace, target.name, scale)

            def change(current: Object) -> Object:
                return self._booked(call, target, current, _scaled(current, scale))

        stored = await self._objects.update(
            target.kind.resource, *target.key, change, dry_run=asked.dry_run
        )
        return await responses.obj(call, scale_of(stored.decode()), media=shape.media)

    async def _applied_scale(
        self, call: Call, target: Target, *, force: bool
    ) -> Callable[[Object], Object]:
        """Server-side apply of a Scale: its one field is the workload's own."""
        scale = await patches.read_config(call, self._table, SCALE)
        scale.setdefault("metadata", {}).setdefault("name", target.name)
        bodies.check_place(target.namespace, target.name, scale)

        def change(current: Object) -> Object:
            spec = scale.get("spec") or {}
            _check_replicas(target.name, spec.get("replicas") or 0)
            config: Object = {
                "apiVersion": target.kind.api_version,
                "kind": target.kind.kind,
                "metadata": dict(scale["metadata"]),
                "spec": {name: spec[name] for name in ("replicas",) if name in spec},
            }
            by = call.query["fieldManager"]
            return self._books.applied(
                target.kind, current, config, by, force=force, subresource=target.subresource
            )

        return change

    def _booked(self, call: Call, target: Target, current: Object, obj: Object) -> Object:
        return self._books.changed(call, target.kind, current, obj, target.subresource)

    async def bind(self, call: Call, target: Target, now: datetime.datetime) -> web.StreamResponse:
        """POST pods/NAME/binding: what a scheduler says."""
        asked = options.writing(call)
        obj, _ = await bodies.decode(call, self._table, "Binding")
        binding = bodies.checked(self._table, "v1", "Binding", obj)
        binding.setdefault("metadata", {}).setdefault("name", target.name)
        bodies.check_place(target.namespace, target.name, binding)
        wanted = binding.get("target") or {}
        if wanted.get("kind", "Node") not in ("", "Node"):
            cause = errors.not_supported("target.kind", wanted["kind"], ["Node", "<empty>"])
            raise errors.invalid("Binding", "", target.name, [cause])
        if not (node := wanted.get("name")):
            cause = errors.required("target.name")
            raise errors.invalid("Binding", "", target.name, [cause])

        def change(pod: Object) -> Object:
            return _bound(pod, node, clocks.rfc3339(now))

        await self._objects.update(
            target.kind.resource,
            *target.key,
            change,
            subresource=target.subresource,
            dry_run=asked.dry_run,
        )
        return await responses.obj(call, {**statuses.success(201), "code": 201}, code=201)


def _bound(pod: Object, node: str, now: str) -> Object:
    """Raises StatusError (409)."""
    name = pod["metadata"]["name"]
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.conflict(
            "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
        )
    if held := pod["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{held}"'
        raise errors.conflict("pods/binding", name, why)
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
    status = dict(pod.get("status") or {})
    others = [c for c in status.get("conditions") or [] if c.get("type") != "PodScheduled"]
    status["conditions"] = [*others, scheduled]
    return {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}
