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
