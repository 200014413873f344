"""Python's Kubernetes clients, unmodified: list, watch, patch, exec, port-forward, log, apply."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from . import lab as labs

WALKS = Path(__file__).with_name("client_walks.py")


@pytest.mark.parametrize("client", ["kubernetes", "kubernetes_asyncio", "kr8s", "lightkube"])
def test_a_client_finds_its_way(lab: labs.Lab, namespace: str, client: str) -> None:
    labs.until(lambda: lab.items("sa", "-n", namespace), "the namespace's account")
    lab.run(sys.executable, str(WALKS), client, namespace, seconds=120)
