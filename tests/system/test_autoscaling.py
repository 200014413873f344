"""A HorizontalPodAutoscaler on a device whose pods really work."""

from __future__ import annotations

import re

from . import lab as labs
from . import manifests

BURNS = "trap 'exit 0' TERM; while :; do n=0; while [ $n -lt 5000 ]; do n=$((n+1)); done; done"


def test_load_scales_a_deployment(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    amounts = {"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"cpu": "100m"}}
    lab.apply(manifests.deployment("burns", manifests.container(BURNS, resources=amounts)), *n)
    lab.rollout("deploy/burns", *n)
    limits = ("--cpu-percent=50", "--min=1", "--max=3")
    told = lab.kubectl("autoscale", "deployment", "burns", *limits, *n)
    assert told == "horizontalpodautoscaler.autoscaling/burns autoscaled\n"

    def row() -> list[str]:
        return re.split(r" {2,}", lab.kubectl("get", "hpa", "--no-headers", *n).strip())

    assert row()[:5] == ["burns", "Deployment/burns", "cpu: <unknown>/50%", "1", "3"]
    lab.wait("deploy/burns", "jsonpath={.spec.replicas}=3", *n)
    lab.rollout("deploy/burns", *n)
    assert re.fullmatch(r"cpu: \d+%/50%", row()[2])
    told = lab.kubectl("describe", "hpa", "burns", *n)
    for line in (
        r"Reference: +Deployment/burns",
        r"  resource cpu on pods  \(as a percentage of request\): +\d+% \(\d+m\) / 50%",
        r"  AbleToScale +True +(SucceededRescale|ReadyForNewScale) .*",
        r"  ScalingActive +True +ValidMetricFound .* from cpu resource utilization .*",
        r"  ScalingLimited +True +TooManyReplicas .*",
        r"  Normal +SuccessfulRescale .*horizontal-pod-autoscaler +New size: 3; reason: cpu .*",
    ):
        assert re.search(rf"^{line}$", told, re.MULTILINE), told
    v1 = lab.get("horizontalpodautoscalers.v1.autoscaling", "burns", *n)
    assert v1["spec"]["targetCPUUtilizationPercentage"] == 50
    assert v1["status"]["currentCPUUtilizationPercentage"] > 50
    # Another bound holds at once.
    lab.kubectl("patch", "hpa", "burns", "-p", '{"spec":{"maxReplicas":2}}', *n)
    lab.wait("deploy/burns", "jsonpath={.spec.replicas}=2", *n)
    messages = [e["message"] for e in lab.items("events", *n) if e["reason"] == "SuccessfulRescale"]
    assert "New size: 2; reason: Current number of replicas above Spec.MaxReplicas" in messages
    lab.kubectl("delete", "hpa/burns", "deploy/burns", "--grace-period=1", *n)
