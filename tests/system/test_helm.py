"""helm 4, unmodified: install, upgrade, roll back, test and uninstall a chart of many kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.lablib import lifecycle

from . import lab as labs

HELM = lifecycle.TOOLS / "helm"
CHART = """\
apiVersion: v2
name: shop
version: 0.1.0
appVersion: "1"
"""
VALUES = "greeting: hello\nreplicas: 1\n"
OBJECTS = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {greeting: {{ .Values.greeting | quote }}}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}}
stringData: {password: secret}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: {{ .Release.Name }}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: {{ .Release.Name }}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .Release.Name }}}
subjects: [{kind: ServiceAccount, name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}]
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      containers: [{name: web, image: "nginx:1.25", ports: [{containerPort: 80}]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: {{ .Release.Name }}}
spec:
  rules:
  - host: shop.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: {{ .Release.Name }}, port: {number: 80}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: {{ .Release.Name }}}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: {{ .Release.Name }}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: {{ .Release.Name }}}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .Release.Name }}}
"""
NOTES = "{{ .Release.Name }} says {{ .Values.greeting }}\n"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(CHART)
    (folder / "values.yaml").write_text(VALUES)
    (folder / "templates/objects.yaml").write_text(OBJECTS)
    (folder / "templates/NOTES.txt").write_text(NOTES)
    return folder


@pytest.mark.skipif(not HELM.exists(), reason="helm was not fetched")
def test_a_release_comes_changes_goes_back_and_leaves(
    lab: labs.Lab, namespace: str, chart: Path
) -> None:
    def helm(*arguments: str) -> str:
        return lab.run(str(HELM), *arguments, "-n", namespace, seconds=120).stdout

    told = helm("install", "shop", str(chart), "--wait", "--timeout", "60s")
    assert "STATUS: deployed" in told
    assert "shop says hello" in told
    assert lab.get("deployment", "shop", "-n", namespace)["status"]["readyReplicas"] == 1

    helm("upgrade", "shop", str(chart), "--set", "greeting=bye", "--wait", "--timeout", "60s")
    greeting = "jsonpath={.data.greeting}"
    assert lab.kubectl("get", "cm", "shop", "-n", namespace, "-o", greeting) == "bye"

    helm("rollback", "shop", "1", "--wait", "--timeout", "60s")
    assert lab.kubectl("get", "cm", "shop", "-n", namespace, "-o", greeting) == "hello"
    history = json.loads(helm("history", "shop", "-o", "json"))
    assert [each["status"] for each in history] == ["superseded", "superseded", "deployed"]
    assert [each["name"] for each in json.loads(helm("list", "-o", "json"))] == ["shop"]

    assert "uninstalled" in helm("uninstall", "shop", "--wait", "--timeout", "60s")
    kinds = "deploy,svc,cm,secret,sa,role,rolebinding,ingress,pdb,hpa"
    left = lab.kubectl("get", kinds, "-n", namespace, "-o", "name").split()
    assert [name for name in left if name.endswith("/shop")] == []


def helm_in(lab: labs.Lab, namespace: str, *arguments: str, check: bool = True) -> labs.Result:
    command = (str(HELM), *arguments, "-n", namespace)
    return lab.run(*command, check=check, seconds=120)


@pytest.mark.skipif(not HELM.exists(), reason="helm was not fetched")
def test_the_chart_of_helm_create(lab: labs.Lab, namespace: str, tmp_path: Path) -> None:
    """As everybody's first chart comes: installed, tested, upgraded, broken, rolled back."""
    lab.run(str(HELM), "create", str(tmp_path / "first"))
    chart, wait = str(tmp_path / "first"), ("--wait", "--timeout", "60s")

    def helm(*arguments: str) -> str:
        return helm_in(lab, namespace, *arguments).stdout

    helm("install", "first", chart, "--set", "image.tag=1.25", *wait)
    told = helm("test", "first", "--timeout", "60s")
    assert "Phase:          Succeeded" in told
    both = ("--set", "image.tag=1.26", "--set", "ingress.enabled=true", "--set", "replicaCount=2")
    assert "STATUS: deployed" in helm("upgrade", "--install", "first", chart, *both, *wait)
    broken = helm_in(
        lab, namespace, "upgrade", "first", chart, *both, "--set", "image.tag=none",
        "--set", "image.pullPolicy=Never", "--rollback-on-failure", "--timeout", "5s", check=False,
    )  # fmt: skip
    assert "has been rolled back due to rollback-on-failure being set" in broken.stderr
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert lab.kubectl("get", "deploy", "first", "-n", namespace, "-o", image) == "nginx:1.26"
    helm("rollback", "first", "1", *wait)
    assert lab.kubectl("get", "deploy", "first", "-n", namespace, "-o", image) == "nginx:1.25"
    statuses = [each["status"] for each in json.loads(helm("history", "first", "-o", "json"))]
    assert statuses[-1] == "deployed"
    assert "failed" in statuses
    assert "uninstalled" in helm("uninstall", "first", *wait)


HOOKED = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-{{ .Values.hook }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: hook
        image: busybox
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "echo migrated; exit {{ .Values.code }}"]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: {{ .Release.Name }}}
spec:
  serviceName: {{ .Release.Name }}
  replicas: 2
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers: [{name: web, image: "nginx:1.25"}]
"""


@pytest.mark.skipif(not HELM.exists(), reason="helm was not fetched")
def test_hooks_run_first_and_a_failed_one_stops_the_release(
    lab: labs.Lab, namespace: str, chart: Path
) -> None:
    (chart / "templates/objects.yaml").write_text(HOOKED)
    (chart / "values.yaml").write_text(VALUES + "hook: migrate\ncode: 0\n")
    wait = ("--wait", "--timeout", "60s")
    helm_in(lab, namespace, "install", "shop", str(chart), *wait)
    assert lab.kubectl("logs", "job/shop-migrate", "-n", namespace) == "migrated\n"
    ready = "jsonpath={.status.readyReplicas}"
    assert lab.kubectl("get", "sts", "shop", "-n", namespace, "-o", ready) == "2"
    failed = helm_in(
        lab, namespace, "upgrade", "shop", str(chart), "--set", "code=1", *wait, check=False
    )
    assert "pre-upgrade hooks failed" in failed.stderr
    helm_in(lab, namespace, "uninstall", "shop", *wait)
