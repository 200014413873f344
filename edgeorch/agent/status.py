"""The only writer of pod status. What has not changed is not written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgeorch.core import pod_phase, pod_status
from edgeorch.lib import clock as clocks
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.core.observed import PodSeen
    from edgeorch.lib import backoff
    from edgeorch.model import views
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)


class _Replaced(Exception):
    """Another pod has the name by now."""


class StatusWriter:
    def __init__(
        self,
        objects: Objects,
        network: ports.Network,
        clock: clocks.Clock,
        crash_loop: backoff.Policy,
    ) -> None:
        self._objects = objects
        self._network = network
        self._clock = clock
        self._crash_loop = crash_loop

    async def write(self, pod: views.Pod, seen: PodSeen, *, durable: bool = False) -> str:
        """The phase that the pod has by that."""
        around = pod_status.Surroundings(
            # Made while the clock was ahead, a pod was not anything before it was.
            now=max(clocks.rfc3339(self._clock.now()), pod.metadata.creation_timestamp or ""),
            monotonic=self._clock.monotonic(),
            host_ip=self._network.node_addresses.host,
            crash_loop=self._crash_loop,
        )

        # The end of a pod is counted by others (a Job) and leaves no other trace for long.
        phase = pod_phase.phase(pod, seen, around.monotonic)
        durable = durable or (phase in ("Succeeded", "Failed") and not pod.terminal)

        def change(obj: Object) -> Object:
            if obj["metadata"]["uid"] != pod.metadata.uid:
                raise _Replaced
            obj["status"] = pod_status.derive(pod, seen, obj.get("status") or {}, around)
            return obj

        meta = pod.metadata
        try:
            await self._objects.update(
                kinds.POD.resource,
                meta.namespace,
                meta.name,
                change,
                subresource="status",
                durable=durable,
            )
        except _Replaced:
            return phase
        except errors.StatusError as error:
            # Gone, or changed meanwhile: the watch says so and the worker decides anew. What the
            # store refuses must not keep the pod from being worked on.
            if error.code not in (404, 409):
                log.error("Cannot write the status of %s/%s: %s", meta.namespace, meta.name, error)
        return phase
