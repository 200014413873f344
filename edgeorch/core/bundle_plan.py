"""What is to be done about a bundle next: apply, wait, believe in it, or go back.

A pure decision over what was asked for (`spec.version`), what the Bundle's status keeps through
power cuts, and what is seen now.

* A version that missed its deadline is refused from then on, in one durable write; the version to
  be on the device is then the last one that was good. So a cut at any moment leaves either the old
  aim or the new one, and applying is done again until it is done.
* It never loops: what is refused is not tried again by itself, and from a good version nothing goes
  back.
* What somebody deletes of a version that is on the device is made again; what somebody changes is
  left to him until the next push. Where it is deleted again and again, this goes ever more slowly.
* Every start of the process gives a version that is not good yet a whole deadline again, since
  nobody knows how long the device was off; but only so many times, for a version may be what takes
  the device down.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from edgeorch.lib import backoff
from edgeorch.model import bundles

PENDING, PROGRESSING, READY, DEGRADED, ROLLED_BACK = (
    "Pending", "Progressing", "Ready", "Degraded", "RolledBack",
)  # fmt: skip
MAX_STARTS = 3
"""Of the process, while one version has yet to become ready."""
MAX_REFUSED = 10
HEALTH_AGAIN = 5.0
"""Seconds between two tries of a health URL."""
HEALTH_RARELY = 300.0
"""Seconds at most, when the deadline is over and there is nothing to go back to."""

RESTORE = backoff.Policy(initial=10.0, factor=2.0, cap=600.0)
"""Seconds between two times that something which was deleted is made again."""


class Do(Enum):
    WAIT = "wait"
    APPLY = "apply"
    """The objects of `target`."""
    CHECK_HEALTH = "check health"
    RESTORE = "restore"
    """The objects of `target` that somebody has deleted."""
    BELIEVE = "believe"
    """`target` is good."""
    GO_BACK = "go back"
    """Refuse `target`, for the reason in `message`."""


class Missing(Struct, frozen=True):
    """An object that is not ready."""

    kind: str
    namespace: str
    name: str
    message: str
    absent: bool = False
    """It is not there, and might be."""

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}: {self.message}"


class Attempt(Struct, frozen=True):
    """What this process knows of the version on the device. `since`: seconds since it was applied
    here, or the process began. `ready_for`: seconds since nothing is missing. `was_ready`: at some
    moment since. `unreachable`: what the last try
    of the health URL said, None before the first one, "" when it was answered."""

    since: float = 0.0
    ready_for: float = 0.0
    was_ready: bool = False
    unreachable: str | None = None
    checked_since: float = 0.0
    """Seconds since that try."""
    restores: int = 0
    """How often in a row something that was gone was made again."""
    restored_since: float = 0.0
    """Seconds since the last time."""
    not_restored: str = ""
    """Why that failed."""


class Seen(Struct, frozen=True):
    """`stored`: versions whose manifests are there. `failed`: what applying the target last met."""

    stored: Collection[str]
    missing: Sequence[Missing] = ()
    attempt: Attempt = Attempt()
    held: str = ""
    """Why nothing may be changed now."""
    failed: str = ""
    health_url: str = ""
    has_workloads: bool = False
    """What can be ready for a moment and then no more."""
    owed: bool = False
    """`target` was pushed again, and waits: it may undo what was changed by hand."""


class Decision(Struct, frozen=True):
    do: Do
    target: str = ""
    phase: str = PENDING
    message: str = ""
    again: float | None = None
    """Seconds after which to look again, None: when something changes."""
    held: str = ""


def refusal(bundle: bundles.Bundle, version: str) -> bundles.RefusedVersion | None:
    """Why a version is not to be tried again."""
    return next((r for r in bundle.status.refused_versions if r.version == version), None)


def aim(bundle: bundles.Bundle) -> str:
    """The version that is to be on the device; "" for none."""
    wanted = bundle.spec.version
    if wanted and refusal(bundle, wanted) is None:
        return wanted
    return bundle.status.last_good_version


def needed(bundle: bundles.Bundle) -> set[str]:
    """Versions whose manifests must be kept."""
    status = bundle.status
    return {bundle.spec.version, status.version, status.last_good_version} - {""}


def decide(bundle: bundles.Bundle, seen: Seen) -> Decision:
    target = aim(bundle)
    if not target:
        return _without_aim(bundle)
    if target not in seen.stored:
        told = f"the manifests of version {bundles.short(target)} are not here: push them again"
        return Decision(Do.WAIT, target, DEGRADED, told)
    if bundle.status.version != target:
        return _not_applied(bundle, target, seen)
    is_good = target == bundle.status.last_good_version
    found = (_established if is_good else _on_trial)(bundle, target, seen)
    if found.do is Do.GO_BACK:
        return found
    if seen.owed and not seen.held:
        return replace(found, do=Do.APPLY, again=None)
    if any(each.absent for each in seen.missing):
        return _restored(found, seen)
    return replace(found, held=seen.held) if seen.owed else found


def restores(attempt: Attempt) -> int:
    """Those that still count: what has been well for a while is not being fought over."""
    return attempt.restores if attempt.restored_since < 2 * RESTORE.cap else 0


def _without_aim(bundle: bundles.Bundle) -> Decision:
    refused = refusal(bundle, bundle.spec.version)
    if refused is not None:
        return Decision(Do.WAIT, "", DEGRADED, refused.reason)
    return Decision(Do.WAIT, "", PENDING, "no manifests have been pushed")


def _not_applied(bundle: bundles.Bundle, target: str, seen: Seen) -> Decision:
    """An update may wait; going back from a bad one may not."""
    going_back = target != bundle.spec.version
    if seen.held and not going_back:
        told = f"version {bundles.short(target)} waits: {seen.held}"
        return Decision(Do.WAIT, target, PENDING, told, held=seen.held)
    if not seen.failed:
        phase = ROLLED_BACK if going_back else PROGRESSING
        return Decision(Do.APPLY, target, phase, _reason(bundle) if going_back else "")
    established = target == bundle.status.last_good_version
    if not established and (late := _late(bundle, seen)):
        return _go_back(bundle, target, f"{late}: {seen.failed}")
    phase = DEGRADED if going_back else PROGRESSING
    return Decision(Do.APPLY, target, phase, seen.failed)


def _on_trial(bundle: bundles.Bundle, target: str, seen: Seen) -> Decision:
    attempt = seen.attempt
    late = _late(bundle, seen)
    if seen.missing:
        told = _told(seen.missing)
        if late:
            return _go_back(bundle, target, f"{late}: {told}")
        return Decision(Do.WAIT, target, PROGRESSING, told, again=_left(bundle, attempt))
    unproven = bundle.spec.min_ready_seconds - attempt.ready_for
    if seen.has_workloads and unproven > 0:
        told = f"ready, and has to stay so for {bundle.spec.min_ready_seconds} s"
        return Decision(Do.WAIT, target, PROGRESSING, told, again=unproven)
    if not seen.health_url or attempt.unreachable == "":
        return Decision(Do.BELIEVE, target, READY)
    told = f"{seen.health_url} is not reachable: {attempt.unreachable}"
    told = f"{late}: {told}" if late else told
    if attempt.unreachable is None:
        return Decision(Do.CHECK_HEALTH, target, PROGRESSING)
    if late and bundle.status.last_good_version:
        return _go_back(bundle, target, told)
    phase = DEGRADED if late else PROGRESSING
    # The longer it has been late, the more rarely: nobody may ever answer.
    overdue = attempt.since - attempt.checked_since - bundle.spec.deadline_seconds
    pause = min(HEALTH_RARELY, max(HEALTH_AGAIN, overdue))
    if attempt.checked_since >= pause:
        return Decision(Do.CHECK_HEALTH, target, phase, told)
    return Decision(Do.WAIT, target, phase, told, again=pause - attempt.checked_since)


def _established(bundle: bundles.Bundle, target: str, seen: Seen) -> Decision:
    attempt = seen.attempt
    told = _told(seen.missing)
    if target != bundle.spec.version:
        return Decision(
            Do.WAIT, target, ROLLED_BACK, "; ".join(filter(None, (_reason(bundle), told)))
        )
    if not seen.missing:
        return Decision(Do.WAIT, target, READY)
    is_lost = any(each.absent for each in seen.missing)
    if is_lost or attempt.was_ready or attempt.since >= bundle.spec.deadline_seconds:
        return Decision(Do.WAIT, target, DEGRADED, told)
    return Decision(Do.WAIT, target, PROGRESSING, told, again=_left(bundle, attempt))


def _restored(found: Decision, seen: Seen) -> Decision:
    """`found`, with what is to be done about the objects that are not there."""
    attempt = seen.attempt
    phase = DEGRADED if found.phase == PROGRESSING and attempt.was_ready else found.phase
    if seen.held:
        told = f"{found.message}; it stays so: {seen.held}"
        return replace(found, phase=phase, message=told, held=seen.held)
    if attempt.not_restored:
        found = replace(found, message=f"{found.message}; {attempt.not_restored}")
    before = restores(attempt)
    left = RESTORE.delay(before - 1) - attempt.restored_since if before else 0.0
    if left <= 0:
        return replace(found, do=Do.RESTORE, phase=phase, again=None)
    again = left if found.again is None else min(left, found.again)
    return replace(found, phase=phase, again=again)


def _late(bundle: bundles.Bundle, seen: Seen) -> str:
    """How the deadline was missed; "" while there is time."""
    deadline = bundle.spec.deadline_seconds
    if seen.attempt.since >= deadline:
        return f"not ready within {deadline} s"
    if bundle.status.starts >= MAX_STARTS:
        return f"not ready after {bundle.status.starts} starts of edgeorch"
    return ""


def _left(bundle: bundles.Bundle, attempt: Attempt) -> float:
    return max(0.0, bundle.spec.deadline_seconds - attempt.since)


def _go_back(bundle: bundles.Bundle, target: str, why: str) -> Decision:
    """Without anything to go back to, what is there stays and may yet become ready."""
    if bundle.status.last_good_version:
        return Decision(Do.GO_BACK, target, ROLLED_BACK, why)
    return Decision(Do.WAIT, target, DEGRADED, why)


def _reason(bundle: bundles.Bundle) -> str:
    refused = refusal(bundle, bundle.spec.version)
    if refused is None:
        return ""
    return f"version {bundles.short(refused.version)} was taken back: {refused.reason}"


def _told(missing: Sequence[Missing]) -> str:
    """What is not there at all comes first: it may be why the rest is not ready."""
    if not missing:
        return ""
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{min(missing, key=lambda each: not each.absent)}{more}"
