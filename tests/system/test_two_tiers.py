"""The primer's bonus challenge: two tiers that find each other by name."""

from __future__ import annotations

from . import lab as labs
from . import manifests

# The front asks the back, by the name of its Service, for every page.
FRONT = """
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho Content-Type: text/plain\\necho\\nwget -q -O - http://backend/\\n' \
  >/www/cgi-bin/page
chmod +x /www/cgi-bin/page
exec httpd -f -p 80 -h /www
"""


def test_a_frontend_finds_its_backend_by_name(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(
        manifests.listed(
            manifests.deployment("backend", manifests.container(manifests.NAMES), replicas=2),
            manifests.service("backend", "ClusterIP"),
            manifests.deployment("frontend", manifests.container(FRONT)),
            manifests.service("frontend"),
        ),
        *n,
    )
    for tier in ("backend", "frontend"):
        lab.rollout(f"deploy/{tier}", *n)
    port = lab.get("svc/frontend", *n)["spec"]["ports"][0]["nodePort"]

    def page() -> str:
        url = f"http://{lab.address}:{port}/cgi-bin/page"
        return lab.from_lan("curl", "-s", "-m", "5", url, check=False).stdout.strip()

    first = labs.until(page, "a page through both tiers")
    backends = {p["metadata"]["name"] for p in lab.items("pods", "-l", "app=backend", *n)}
    assert first in backends
    # A backend that is replaced is found again under the same name.
    lab.kubectl("delete", "pods", "-l", "app=backend", *n)
    lab.rollout("deploy/backend", *n)
    fresh = {p["metadata"]["name"] for p in lab.items("pods", "-l", "app=backend", *n)} - backends
    labs.until(lambda: page() in fresh, "a page from a new backend")
