"""Small manifests for system tests: quick to start, quick to end."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

# The primer's own manifest ("Deploying from YAML Files"), indented.
PRIMER = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: my-app
spec:
  replicas: 3
  selector:
    matchLabels:
      app: my-app
  template:
    metadata:
      labels:
        app: my-app
    spec:
      containers:
      - name: web
        image: nginx:1.25
        ports:
        - containerPort: 80
        resources:
          requests:
            memory: "64Mi"
            cpu: "50m"
          limits:
            memory: "128Mi"
            cpu: "200m"
        livenessProbe:
          httpGet:
            path: /
            port: 80
          initialDelaySeconds: 5
          periodSeconds: 10
        readinessProbe:
          httpGet:
            path: /
            port: 80
          initialDelaySeconds: 3
          periodSeconds: 5
---
apiVersion: v1
kind: Service
metadata:
  name: my-app-service
spec:
  selector:
    app: my-app
  ports:
  - port: 80
    targetPort: 80
  type: NodePort
"""

# PID 1 of a container ignores what it has no handler for: the trap lets it end at once.
IDLE = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"

# Serves its pod's name on port 80.
NAMES = "mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www"


def container(script: str = IDLE, name: str = "main", **fields: Any) -> Object:
    """A busybox that runs a shell script."""
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **fields}


def pod_spec(*containers: Object, **fields: Any) -> Object:
    spec = {"containers": list(containers) or [container()], "terminationGracePeriodSeconds": 1}
    return spec | fields


def pod(
    name: str, *containers: Object, labels: dict[str, str] | None = None, **fields: Any
) -> Object:
    """A pod; `fields` are of its spec."""
    metadata: Object = {"name": name}
    if labels:
        metadata["labels"] = labels
    spec = pod_spec(*containers, **fields)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def once(name: str, script: str, **fields: Any) -> Object:
    """A pod that runs to its end and is not restarted; `fields` are of its container."""
    return pod(name, container(script, **fields), restartPolicy="Never")


def deployment(name: str, *containers: Object, replicas: int = 1, **fields: Any) -> Object:
    """Labelled app=NAME; `fields` are of the Deployment's spec."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(*containers)}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": spec | fields,
    }


def web(version: str = "1.25", **fields: Any) -> Object:
    """A container of the web server, ready as soon as it answers."""
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    return {
        "name": "web",
        "image": f"nginx:{version}",
        "ports": [{"containerPort": 80}],
        "readinessProbe": probe,
        **fields,
    }


def service(name: str, kind: str = "NodePort", port: int = 80, **fields: Any) -> Object:
    """Of the pods labelled app=NAME; `fields` are of its spec."""
    spec = {"type": kind, "selector": {"app": name}, "ports": [{"port": port, "targetPort": 80}]}
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec | fields}


def listed(*objects: Object) -> Object:
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}
