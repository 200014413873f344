"""Rollouts and rollbacks, one after another, under a steady load: no request fails.

Servers without any hook: edgeorch itself tells a pod to end only after the kernel sends it nothing
new.
"""

from __future__ import annotations

import contextlib

from . import clients, manifests
from . import lab as labs

CLIENTS = 2
"""A hundred requests a second each, every one over a connection of its own."""


def test_no_request_fails(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    made = manifests.deployment("web", manifests.web(), replicas=3)
    made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5
    lab.apply(manifests.listed(made, manifests.service("web")), *n)
    lab.rollout("deploy/web", *n)
    port = int(lab.get("svc/web", *n)["spec"]["ports"][0]["nodePort"])
    where = (lab.device.lan, lab.address, port, "/version")
    with contextlib.ExitStack() as stack:
        seen = [stack.enter_context(clients.steady(*where, every=0.01)) for _ in range(CLIENTS)]
        for number in range(labs.rounds(3, 20)):
            before = sum(each.count for each in seen)
            if number % 2 == 0:
                lab.kubectl("set", "image", "deploy/web", "web=nginx:1.26", *n)
            else:
                lab.kubectl("rollout", "undo", "deploy/web", *n)
            lab.rollout("deploy/web", *n)
            labs.until(lambda: len(lab.items("pods", *n)) == 3, "the former ones have gone")
            assert sum(each.count for each in seen) > before
            failed = [failure for each in seen for failure in each.failures]
            assert not failed, f"rollout {number + 1}: {len(failed)}: {set(failed)}"
    assert all(set(each.answers) == {b"1.25", b"1.26"} for each in seen)
