"""What is done about a bundle next."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgeorch.core import bundle_plan
from edgeorch.core.bundle_plan import Attempt, Do, Missing, Seen
from edgeorch.model import bundles, views

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64
WEB = Missing("Deployment", "shop", "web", "0 of 1 pods are available")
GONE = Missing("ConfigMap", "shop", "menu", "is not there", absent=True)
BOTH = (OLD, NEW)


def _bundle(wanted: str = NEW, *, refused: tuple[str, ...] = (), **status: Any) -> bundles.Bundle:
    return bundles.Bundle(
        metadata=views.Meta(name="app"),
        spec=bundles.BundleSpec(version=wanted, deadline_seconds=60),
        status=bundles.BundleStatus(
            refused_versions=tuple(
                bundles.RefusedVersion(version=each, reason="bad") for each in refused
            ),
            **status,
        ),
    )


def _after(seconds: float, **attempt: Any) -> Attempt:
    return Attempt(since=seconds, **attempt)


CASES = {
    "nothing was pushed": (_bundle(""), Seen(()), Do.WAIT, "", "Pending"),
    "manifests are lost": (_bundle(), Seen(()), Do.WAIT, NEW, "Degraded"),
    "a first version": (_bundle(), Seen(BOTH), Do.APPLY, NEW, "Progressing"),
    "a held one": (_bundle(), Seen(BOTH, held="no"), Do.WAIT, NEW, "Pending"),
    "a held update leaves what is there": (
        _bundle(version=OLD, last_good_version=OLD, phase="Ready"),
        Seen(BOTH, held="no"), Do.WAIT, NEW, "Pending",
    ),
    "nothing holds up going back": (
        _bundle(version=NEW, last_good_version=OLD, refused=(NEW,)),
        Seen(BOTH, held="no"), Do.APPLY, OLD, "RolledBack",
    ),
    "it becomes ready": (
        _bundle(version=NEW), Seen(BOTH, [WEB], _after(1)), Do.WAIT, NEW, "Progressing",
    ),
    "it is ready": (_bundle(version=NEW), Seen(BOTH), Do.BELIEVE, NEW, "Ready"),
    "workloads have to stay ready": (
        _bundle(version=NEW), Seen(BOTH, attempt=_after(1, ready_for=9.0), has_workloads=True),
        Do.WAIT, NEW, "Progressing",
    ),
    "they may do so beyond the deadline": (
        _bundle(version=NEW, last_good_version=OLD),
        Seen(BOTH, attempt=_after(600, ready_for=9.0), has_workloads=True),
        Do.WAIT, NEW, "Progressing",
    ),
    "they have stayed ready": (
        _bundle(version=NEW), Seen(BOTH, attempt=_after(9, ready_for=10.0), has_workloads=True),
        Do.BELIEVE, NEW, "Ready",
    ),
    "ready, and the fleet is to be asked": (
        _bundle(version=NEW), Seen(BOTH, health_url="http://f"),
        Do.CHECK_HEALTH, NEW, "Progressing",
    ),
    "the fleet has answered": (
        _bundle(version=NEW),
        Seen(BOTH, attempt=_after(1, unreachable=""), health_url="http://f"),
        Do.BELIEVE, NEW, "Ready",
    ),
    "the fleet has not answered yet": (
        _bundle(version=NEW),
        Seen(BOTH, attempt=_after(9, unreachable="no", checked_since=1), health_url="http://f"),
        Do.WAIT, NEW, "Progressing",
    ),
    "it is asked again": (
        _bundle(version=NEW),
        Seen(BOTH, attempt=_after(9, unreachable="no", checked_since=5), health_url="http://f"),
        Do.CHECK_HEALTH, NEW, "Progressing",
    ),
    "the fleet is out of reach for too long": (
        _bundle(version=NEW, last_good_version=OLD),
        Seen(BOTH, attempt=_after(60, unreachable="no", checked_since=1), health_url="http://f"),
        Do.GO_BACK, NEW, "RolledBack",
    ),
    "too late": (
        _bundle(version=NEW, last_good_version=OLD),
        Seen(BOTH, [WEB], _after(60)), Do.GO_BACK, NEW, "RolledBack",
    ),
    "too many starts": (
        _bundle(version=NEW, last_good_version=OLD, starts=bundle_plan.MAX_STARTS),
        Seen(BOTH, [WEB], _after(1)), Do.GO_BACK, NEW, "RolledBack",
    ),
    "too late, and nothing to go back to": (
        _bundle(version=NEW), Seen(BOTH, [WEB], _after(60)), Do.WAIT, NEW, "Degraded",
    ),
    "too late, but ready in the end": (
        _bundle(version=NEW), Seen(BOTH, attempt=_after(600)), Do.BELIEVE, NEW, "Ready",
    ),
    "it cannot be applied": (
        _bundle(version=OLD, last_good_version=OLD),
        Seen(BOTH, failed="no"), Do.APPLY, NEW, "Progressing",
    ),
    "it can never be applied": (
        _bundle(version=OLD, last_good_version=OLD),
        Seen(BOTH, attempt=_after(60), failed="no"), Do.GO_BACK, NEW, "RolledBack",
    ),
    "taken back": (
        _bundle(version=OLD, last_good_version=OLD, refused=(NEW,)),
        Seen(BOTH), Do.WAIT, OLD, "RolledBack",
    ),
    "refused at first": (_bundle(refused=(NEW,)), Seen(BOTH), Do.WAIT, "", "Degraded"),
    "well": (
        _bundle(version=NEW, last_good_version=NEW), Seen(BOTH), Do.WAIT, NEW, "Ready",
    ),
    "well once": (
        _bundle(version=NEW, last_good_version=NEW),
        Seen(BOTH, [WEB], _after(1, was_ready=True)), Do.WAIT, NEW, "Degraded",
    ),
    "well before the start": (
        _bundle(version=NEW, last_good_version=NEW),
        Seen(BOTH, [WEB], _after(1)), Do.WAIT, NEW, "Progressing",
    ),
    "something was deleted": (
        _bundle(version=NEW, last_good_version=NEW), Seen(BOTH, [GONE]),
        Do.RESTORE, NEW, "Degraded",
    ),
    "something was deleted before it was good": (
        _bundle(version=NEW), Seen(BOTH, [WEB, GONE], _after(1)), Do.RESTORE, NEW, "Progressing",
    ),
    "something of the good one was deleted after going back": (
        _bundle(version=OLD, last_good_version=OLD, refused=(NEW,)), Seen(BOTH, [GONE]),
        Do.RESTORE, OLD, "RolledBack",
    ),
    "nothing is made again while it is held": (
        _bundle(version=NEW, last_good_version=NEW), Seen(BOTH, [GONE], held="no"),
        Do.WAIT, NEW, "Degraded",
    ),
    "it was made again a moment ago": (
        _bundle(version=NEW, last_good_version=NEW),
        Seen(BOTH, [GONE], _after(99, restores=1, restored_since=9.0)), Do.WAIT, NEW, "Degraded",
    ),
    "and a little longer ago": (
        _bundle(version=NEW, last_good_version=NEW),
        Seen(BOTH, [GONE], _after(99, restores=1, restored_since=10.0)),
        Do.RESTORE, NEW, "Degraded",
    ),
    "it was pushed again": (
        _bundle(version=NEW, last_good_version=NEW), Seen(BOTH, owed=True), Do.APPLY, NEW, "Ready",
    ),
    "it was pushed again, and is held": (
        _bundle(version=NEW, last_good_version=NEW), Seen(BOTH, owed=True, held="no"),
        Do.WAIT, NEW, "Ready",
    ),
    "too late, whatever was deleted": (
        _bundle(version=NEW, last_good_version=OLD), Seen(BOTH, [GONE], _after(60)),
        Do.GO_BACK, NEW, "RolledBack",
    ),
}  # fmt: skip


def test_what_is_deleted_again_and_again_comes_back_ever_more_slowly() -> None:
    bundle = _bundle(version=NEW, last_good_version=NEW)
    pauses = []
    for restores in range(1, 10):
        attempt = _after(0, restores=restores, restored_since=0.0)
        found = bundle_plan.decide(bundle, Seen(BOTH, [GONE], attempt))
        assert found.do is Do.WAIT
        pauses.append(found.again)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    long_ago = _after(0, restores=9, restored_since=1200.0)
    assert bundle_plan.restores(long_ago) == 0


def test_what_is_gone_is_named_first() -> None:
    """And why it stays so."""
    bundle = _bundle(version=NEW, last_good_version=NEW)
    attempt = _after(0, restores=1, not_restored="its namespace is not there")
    found = bundle_plan.decide(bundle, Seen(BOTH, [WEB, GONE], attempt))
    told = "ConfigMap shop/menu: is not there, and 1 more; its namespace is not there"
    assert found.message == told
    found = bundle_plan.decide(bundle, Seen(BOTH, [GONE], held="the robot moves"))
    assert found.message == "ConfigMap shop/menu: is not there; it stays so: the robot moves"
    assert found.held == "the robot moves"


def test_a_first_version_that_nobody_answers_for_is_asked_for_ever_more_rarely() -> None:
    bundle = _bundle(version=NEW)
    now, tries = 0.0, [0.0]
    while now < 24 * 3600:
        attempt = _after(now, unreachable="no", checked_since=now - tries[-1])
        found = bundle_plan.decide(bundle, Seen(BOTH, attempt=attempt, health_url="http://f"))
        if now >= 60:
            told = "not ready within 60 s: http://f is not reachable: no"
            assert (found.phase, found.message) == ("Degraded", told)
        if found.do is Do.CHECK_HEALTH:
            tries.append(now)
            continue
        assert found.again
        now += found.again
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (bundle_plan.HEALTH_AGAIN, bundle_plan.HEALTH_RARELY)
    assert len(tries) < 330


@pytest.mark.parametrize("name", CASES)
def test_decisions(name: str) -> None:
    bundle, seen, do, target, phase = CASES[name]
    found = bundle_plan.decide(bundle, seen)
    assert (found.do, found.target, found.phase) == (do, target, phase)


VERSIONS = st.sampled_from(["", OLD, NEW])


@given(
    wanted=VERSIONS,
    version=VERSIONS,
    good=VERSIONS,
    refused=st.sets(st.sampled_from(BOTH)),
    starts=st.integers(0, 5),
    missing=st.lists(st.sampled_from([WEB, GONE]), max_size=2),
    since=st.sampled_from([0.0, 59.0, 60.0, 1e6]),
    unreachable=st.sampled_from([None, "", "no"]),
    held=st.sampled_from(["", "no"]),
    failed=st.sampled_from(["", "no"]),
    url=st.sampled_from(["", "http://f"]),
)
def test_it_converges(
    wanted: str, version: str, good: str, refused: set[str], starts: int, missing: list[Missing],
    since: float, unreachable: str | None, held: str, failed: str, url: str,
) -> None:  # fmt: skip
    """Whatever the state, carrying decisions out comes to rest: nothing goes round in circles."""
    bundle = _bundle(
        wanted, refused=tuple(sorted(refused)), version=version, last_good_version=good,
        starts=starts,
    )  # fmt: skip
    seen = Seen(
        BOTH,
        missing,
        Attempt(since, since, True, unreachable, 100.0),
        held,
        failed,
        url,
    )
    for _ in range(6):
        decision = bundle_plan.decide(bundle, seen)
        if decision.do is Do.GO_BACK:
            assert bundle.status.last_good_version
            assert decision.target != bundle.status.last_good_version
        bundle, seen = _carried_out(bundle, seen, decision)
        if decision.do is Do.WAIT:
            return
    # Only what is tried again and again never rests: it waits between its tries.
    assert failed or url


def _carried_out(
    bundle: bundles.Bundle, seen: Seen, decision: bundle_plan.Decision
) -> tuple[bundles.Bundle, Seen]:
    status = bundle.status
    match decision.do:
        case Do.APPLY if not seen.failed:
            status = _with(status, version=decision.target, starts=0)
            seen = replace(seen, attempt=Attempt(0.0))
        case Do.BELIEVE:
            status = _with(status, last_good_version=decision.target, starts=0)
        case Do.GO_BACK:
            bad = bundles.RefusedVersion(version=decision.target, reason=decision.message)
            status = _with(status, refused_versions=(*status.refused_versions, bad), starts=0)
            seen = replace(seen, failed="", attempt=Attempt(0.0))
        case Do.RESTORE:
            again = replace(seen.attempt, restores=seen.attempt.restores + 1, restored_since=0.0)
            missing = [each for each in seen.missing if not each.absent]
            seen = replace(seen, attempt=again, missing=missing)
        case Do.CHECK_HEALTH:
            seen = replace(seen, attempt=replace(seen.attempt, unreachable="no", checked_since=0.0))
        case _:
            pass
    return bundles.Bundle(metadata=bundle.metadata, spec=bundle.spec, status=status), seen


def _with(status: bundles.BundleStatus, **fields: Any) -> bundles.BundleStatus:
    kept = {name: getattr(status, name) for name in status.__struct_fields__}
    return bundles.BundleStatus(**kept | fields)
