"""POST pods/NAME/eviction: a delete that asks the disruption budgets first; what drain calls.

The decision is core.disruption.judge. Source: KEP-85,
https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from edgeorch.api import bodies, options, responses, statuses
from edgeorch.core import disruption, pod_facts
from edgeorch.lib import clock as clocks
from edgeorch.model import errors, kinds, workloads

if TYPE_CHECKING:
    import datetime

    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model import schema
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

_PODS, _BUDGETS = kinds.POD.resource, kinds.POD_DISRUPTION_BUDGET.resource
_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."


class Evictions:
    def __init__(self, objects: Objects, table: schema.Schema) -> None:
        self._objects = objects
        self._table = table

    async def evict(self, call: Call, target: Target, now: datetime.datetime) -> web.StreamResponse:
        """Raises StatusError: 429 when a budget forbids it."""
        asked = options.writing(call)
        obj, _ = await bodies.decode(call, self._table, "Eviction")
        eviction = bodies.checked(self._table, "policy/v1", "Eviction", obj)
        name = (eviction.get("metadata") or {}).get("name") or target.name
        if name != target.name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        wanted = eviction.get("deleteOptions") or {}
        dry_run = asked.dry_run or bool(wanted.get("dryRun"))
        await self._evict(target, wanted, now, dry_run=dry_run)
        return await responses.obj(call, {**statuses.success(201), "code": 201}, code=201)

    async def _evict(
        self, target: Target, wanted: Object, now: datetime.datetime, *, dry_run: bool
    ) -> None:
        namespace, name = target.key
        stored = self._objects.get(_PODS, namespace, name)
        pod = stored.view(pod_facts.PodFacts)
        verdict = disruption.judge(pod, self._budgets(pod))
        match verdict:
            case disruption.Refuse():
                raise _too_many(verdict)
            case disruption.Impossible(message, forbidden=True):
                raise errors.forbidden(_BUDGETS, name, message)
            case disruption.Impossible(message):
                raise errors.internal(message)
            case disruption.Evict(budget):
                stamp = clocks.rfc3339(now)
                if budget and not dry_run:
                    await self._spend(pod, budget, stamp)
                if not dry_run and not pod.terminating:
                    change = partial(disruption.targeted, stamp=stamp)
                    await self._objects.update_status(_PODS, namespace, name, change)
        conditions = {"preconditions": {"uid": pod.metadata.uid, **_asked(wanted)}}
        await self._objects.delete(
            _PODS, namespace, name, {**wanted, **conditions}, dry_run=dry_run
        )

    def _budgets(self, pod: pod_facts.PodFacts) -> list[workloads.Budget]:
        listed = self._objects.list(_BUDGETS, pod.metadata.namespace).items
        found = (stored.view(workloads.Budget) for stored in listed)
        return [each for each in found if disruption.selects(each, pod.metadata.labels)]

    async def _spend(self, pod: pod_facts.PodFacts, budget: str, stamp: str) -> None:
        """Judged again on the budget as it is when it is written: another may have been quicker."""
        meta = pod.metadata

        def change(obj: Object) -> Object:
            verdict = disruption.judge(pod, [workloads.budget_of(obj)])
            if isinstance(verdict, disruption.Refuse):
                raise _too_many(verdict)
            return disruption.spent(obj, meta.name, stamp)

        await self._objects.update_status(_BUDGETS, meta.namespace, budget, change)


def _asked(wanted: Object) -> Object:
    return {key: value for key, value in (wanted.get("preconditions") or {}).items() if value}


def _too_many(refused: disruption.Refuse) -> errors.StatusError:
    details: Object = {"causes": [{"reason": "DisruptionBudget", "message": refused.cause}]}
    if refused.retry_after:
        details["retryAfterSeconds"] = refused.retry_after
    return errors.StatusError(429, "TooManyRequests", _VIOLATES, details=details)
