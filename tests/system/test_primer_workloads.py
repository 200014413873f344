"""The primer's hands-on and its "Debug This", command by command, as a reader types them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from . import lab as labs

POD = r"hello-web-[a-z0-9]{6,10}-[a-z0-9]{5}"


@pytest.fixture
def kubectl(lab: labs.Lab, namespace: str) -> Callable[..., str]:
    """kubectl in a namespace that is the current one, with a command line as it is typed."""

    def run(line: str) -> str:
        return lab.kubectl("-n", namespace, *line.split())

    return run


def test_hands_on(lab: labs.Lab, namespace: str, kubectl: Callable[..., str]) -> None:
    """Steps 1 to 6 of "Deploying Your First Application", and cleaning up."""
    n = ("-n", namespace)

    def pods() -> dict[str, str]:
        found = (line.split() for line in kubectl("get pods --no-headers").splitlines())
        return {row[0]: f"{row[1]} {row[2]}" for row in found}

    def all_running(count: int) -> set[str]:
        whole = labs.until(
            lambda: (
                found
                if len(found := pods()) == count and set(found.values()) == {"1/1 Running"}
                else None
            ),
            f"{count} pods, all running",
        )
        return set(whole or ())

    with lab.background("get", "pods", "-w", *n) as watch:
        told = kubectl("create deployment hello-web --image=nginx:1.25 --replicas=3")
        assert told == "deployment.apps/hello-web created\n"
        first = all_running(3)
        for name in first:
            watch.until(f"{name} +0/1 +ContainerCreating +0 ")
            watch.until(f"{name} +1/1 +Running +0 ")
    assert all(re.fullmatch(POD, name) for name in first)

    told = kubectl("expose deployment hello-web --type=NodePort --port=80")
    assert told == "service/hello-web exposed\n"
    row = kubectl("get service hello-web --no-headers").split()
    assert row[:2] + row[3:4] == ["hello-web", "NodePort", "<none>"]
    port = int(re.fullmatch(r"80:(3\d{4})/TCP", row[4])[1])  # type: ignore[index]

    def version() -> str:
        url = f"http://localhost:{port}/version"
        return lab.run("curl", "-s", "-m", "2", url, check=False).stdout.strip()

    labs.until(lambda: version() == "1.25", "an answer at the node's port")

    victims = sorted(first)[:2]
    assert kubectl(f"delete pod {victims[0]}").startswith(f'pod "{victims[0]}" deleted')
    second = all_running(3)
    assert len(second - first) == 1
    kubectl(f"delete pod {' '.join(sorted(second)[:2])}")
    assert len(all_running(3) & second) == 1

    for count in (5, 2):
        told = kubectl(f"scale deployment hello-web --replicas={count}")
        assert told == "deployment.apps/hello-web scaled\n"
        all_running(count)

    told = kubectl("set image deployment/hello-web nginx=nginx:1.26")
    assert told == "deployment.apps/hello-web image updated\n"
    told = kubectl("rollout status deployment/hello-web --timeout=60s")
    assert told.splitlines()[-1] == 'deployment "hello-web" successfully rolled out'
    assert re.search(r"^ +Image: +nginx:1.26$", kubectl("describe deployment hello-web"), re.M)
    labs.until(lambda: version() == "1.26", "the new version")
    assert kubectl("rollout undo deployment/hello-web") == "deployment.apps/hello-web rolled back\n"
    kubectl("rollout status deployment/hello-web --timeout=60s")
    assert re.search(r"^ +Image: +nginx:1.25$", kubectl("describe deployment hello-web"), re.M)

    told = kubectl("set resources deployment/hello-web --limits=cpu=200m,memory=64Mi")
    assert told == "deployment.apps/hello-web resource requirements updated\n"
    kubectl("rollout status deployment/hello-web --timeout=60s")
    (container,) = lab.get("deploy/hello-web", *n)["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"cpu": "200m", "memory": "64Mi"}}

    _events(lab, namespace, kubectl)
    assert kubectl("delete deployment hello-web").startswith('deployment.apps "hello-web" deleted')
    assert kubectl("delete service hello-web").startswith('service "hello-web" deleted')
    labs.until(lambda: not pods(), "the pods go with it")


def _events(lab: labs.Lab, namespace: str, kubectl: Callable[..., str]) -> None:
    """What happened is told of one object, of all, and as it comes."""
    told = kubectl("events --for deployment/hello-web").splitlines()
    assert told[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert all("ScalingReplicaSet" in line for line in told[1:])
    assert any("Scaled up replica set hello-web-" in line for line in told[1:])
    assert "SuccessfulCreate" in kubectl("get events --sort-by=.lastTimestamp")
    fields = "involvedObject.kind=Deployment,reason=ScalingReplicaSet"
    names = kubectl(f"get events --field-selector {fields} -o name").split()
    newer = kubectl("get events.events.k8s.io -o name").split()
    assert {name.partition("/")[2] for name in names} <= {name.partition("/")[2] for name in newer}
    with lab.background("get", "events", "--watch", "-n", namespace) as watch:
        watch.until("LAST SEEN")
        kubectl("scale deployment hello-web --replicas=3")
        watch.until(r"ScalingReplicaSet +deployment/hello-web +.*Scaled up .* from 2 to 3")
        watch.until(r"SuccessfulCreate +replicaset/hello-web-")
        watch.until(r"Started +pod/hello-web-")


# The reader's application: it needs its database, or it ends.
APP = (
    "nc -w 2 db 5432 </dev/null 2>/dev/null"
    " || { echo Error: Cannot connect to database at db:5432; exit 1; }"
)


def test_an_application_whose_database_comes_later(
    lab: labs.Lab, namespace: str, kubectl: Callable[..., str]
) -> None:
    """Kubernetes restarts it with longer and longer breaks; once the database is there it runs."""
    n = ("-n", namespace)
    script = f"{APP}; echo connected; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"
    create = ("create", "deployment", "my-app", "--image=nginx:1.25", *n)
    lab.kubectl(*create, "--", "sh", "-c", script)
    labs.until(lambda: "CrashLoopBackOff" in kubectl("get pods"), "the status the reader sees")
    (pod,) = [item["metadata"]["name"] for item in lab.items("pods", *n)]
    row = kubectl(f"get pod {pod} --no-headers")
    assert re.match(rf"{pod} +0/1 +CrashLoopBackOff +[12] \(\d+s ago\) ", row), row
    assert "Error: Cannot connect to database at db:5432" in kubectl(f"logs {pod}")
    told = kubectl(f"describe pod {pod}")
    for kind, reason, message in (
        ("Normal", "Pulled", 'Container image "nginx:1.25" already present'),
        ("Normal", "Created", ""),
        ("Normal", "Started", ""),
        ("Warning", "BackOff", "Back-off restarting failed container nginx in pod my-app-"),
    ):
        assert re.search(rf"^ +{kind} +{reason} .*{re.escape(message)}", told, re.M), told
    assert re.search(r"^ +Reason: +CrashLoopBackOff$", told, re.M)

    lab.kubectl(
        "create", "deployment", "db", "--image=nginx:1.25", *n,
        "--", "nc", "-ll", "-p", "5432", "-e", "true",
    )  # fmt: skip
    kubectl("expose deployment db --port=5432")
    lab.wait(f"pod/{pod}", "condition=Ready", *n)
    lab.rollout("deploy/my-app", *n)
    labs.until(lambda: "connected" in kubectl(f"logs {pod}"), "the application's own word")
    assert "Cannot connect" in kubectl(f"logs {pod} --previous")
    kubectl("delete deployment my-app db")
    kubectl("delete pods --all --now --wait=false")


def test_an_image_that_does_not_exist(
    lab: labs.Lab, namespace: str, kubectl: Callable[..., str]
) -> None:
    kubectl("create deployment broken --image=nginx:nonexistent")
    labs.until(lambda: "ImagePullBackOff" in kubectl("get pods"), "the status the reader sees", 120)
    (pod,) = [item["metadata"]["name"] for item in lab.items("pods", "-n", namespace)]
    told = kubectl(f"describe pod {pod}")
    assert re.search(r"^ +Reason: +(ImagePullBackOff|ErrImagePull)$", told, re.M), told
    assert re.search(r'Warning +Failed .*Failed to pull image "nginx:nonexistent"', told), told
    assert re.search(r'Normal +BackOff .*Back-off pulling image "nginx:nonexistent"', told), told
    assert re.search(rf"Warning +Failed +pod/{pod} +Error: ErrImagePull", kubectl("get events"))
    refused = lab.try_kubectl("logs", pod, "-n", namespace)
    assert refused.returncode == 1
    assert re.search(
        r'container "nginx" in pod "broken-\S+" is waiting to start: '
        "(trying and failing to pull image|image can't be pulled)",
        refused.stderr,
    ), refused.stderr
    # And it is mended by the command that broke it.
    kubectl("set image deployment/broken nginx=nginx:1.25")
    kubectl("rollout status deployment/broken --timeout=60s")
