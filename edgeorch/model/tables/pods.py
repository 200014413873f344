"""The pods table: READY counts, one word of STATUS, restarts with the time of the last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age, since
from edgeorch.model.tables.columns import AGE, NAME, Column, wide

COLUMNS = (
    NAME,
    Column("Ready", "Containers that are ready, of all that should be."),
    Column("Status", "What the pod is doing, or what keeps it from it."),
    Column("Restarts", "How often containers were restarted, and when last."),
    AGE,
    wide("IP", "Address of the pod."),
    wide("Node", "Node the pod is bound to."),
    wide("Nominated Node", "Node that is being cleared for the pod."),
    wide("Readiness Gates", "Readiness gates that are open, of all."),
)


def row(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    meta = obj.get("metadata") or {}
    summary = _Summary(obj)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts = f"{summary.restarts} ({since(summary.last_restart, now)} ago)"
    addresses = status.get("podIPs") or [{}]
    return [
        meta.get("name", ""),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age(obj, now),
        addresses[0].get("ip") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        _gates(spec, status),
    ]


def conditions(obj: Object) -> list[dict[str, str]]:
    messages = {
        "Succeeded": "The pod has completed successfully.",
        "Failed": "The pod failed.",
    }
    phase = (obj.get("status") or {}).get("phase", "")
    if phase not in messages:
        return []
    ended = {"type": "Completed", "status": "True", "reason": phase, "message": messages[phase]}
    return [ended]


def status(obj: Object) -> str:
    """The word in the STATUS column."""
    return _Summary(obj).reason


class _Summary:
    """Reads a pod's statuses in the order in which they tell its state."""

    def __init__(self, obj: Object) -> None:
        self._spec, self._status = obj.get("spec") or {}, obj.get("status") or {}
        self.restarts = 0
        self.last_restart = ""
        self.ready = 0
        self._sidecars = {
            container.get("name")
            for container in self._spec.get("initContainers") or []
            if container.get("restartPolicy") == "Always"
        }
        self.total = len(self._spec.get("containers") or []) + len(self._sidecars)
        phase = self._status.get("phase") or ""
        self.reason = self._status.get("reason") or phase
        if self._condition("PodScheduled").get("reason") == "SchedulingGated":
            self.reason = "SchedulingGated"
        initializing = self._read_init()
        if not initializing or self._is_true("Initialized"):
            self._read_containers()
        if (obj.get("metadata") or {}).get("deletionTimestamp"):
            if self._status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif phase not in ("Succeeded", "Failed"):
                self.reason = "Terminating"

    def _condition(self, kind: str) -> Object:
        for condition in self._status.get("conditions") or []:
            if condition.get("type") == kind:
                return dict(condition)
        return {}

    def _is_true(self, kind: str) -> bool:
        return self._condition(kind).get("status") == "True"

    def _count_restarts(self, container: Object) -> None:
        self.restarts += container.get("restartCount") or 0
        ended = (container.get("lastState") or {}).get("terminated") or {}
        # Times of one form compare as text.
        self.last_restart = max(self.last_restart, ended.get("finishedAt") or "")

    def _read_init(self) -> bool:
        """Whether an init container is still to finish; it then gives the reason."""
        for index, container in enumerate(self._status.get("initContainerStatuses") or []):
            self._count_restarts(container)
            state = container.get("state") or {}
            ended, waiting = state.get("terminated"), state.get("waiting") or {}
            if ended is not None and not ended.get("exitCode"):
                continue
            if container.get("name") in self._sidecars and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if ended is not None:
                self.reason = "Init:" + _ending(ended)
            elif waiting.get("reason") not in (None, "", "PodInitializing"):
                self.reason = "Init:" + waiting["reason"]
            else:
                count = len(self._spec.get("initContainers") or [])
                self.reason = f"Init:{index}/{count}"
            return True
        return False

    def _read_containers(self) -> None:
        """From the last to the first, so that the first has the last word."""
        self.restarts, self.last_restart = 0, ""
        for container in self._status.get("initContainerStatuses") or []:
            if container.get("name") in self._sidecars:
                self._count_restarts(container)
        running = False
        for container in reversed(self._status.get("containerStatuses") or []):
            self._count_restarts(container)
            state = container.get("state") or {}
            waiting = (state.get("waiting") or {}).get("reason")
            if waiting:
                self.reason = waiting
            elif state.get("terminated") is not None:
                self.reason = _ending(state["terminated"])
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            self.reason = "Running" if self._is_true("Ready") else "NotReady"


def _ending(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode') or 0}"


def _gates(spec: Object, status: Object) -> str:
    gates = spec.get("readinessGates") or []
    if not gates:
        return "<none>"
    states = {c.get("type"): c.get("status") for c in status.get("conditions") or []}
    opened = sum(1 for gate in gates if states.get(gate.get("conditionType")) == "True")
    return f"{opened}/{len(gates)}"
