"""The configuration file that scripts/install leaves: true to the code, and harmless as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeorch import config

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def sample() -> str:
    command = [sys.executable, str(CHECKOUT / "scripts/sample-config")]
    env = {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_as_it_is_it_sets_nothing(sample: str) -> None:
    assert config.parse(sample) == config.Config()


def test_uncommented_it_sets_every_key_to_its_default(sample: str) -> None:
    body = sample.partition("systemctl restart edgeorch\n")[2]
    uncommented = re.sub(r"(?m)^#", "", body)
    assert config.parse(uncommented) == config.Config()
    assert re.search(r"(?m)^cgroup_root:", uncommented)
    assert re.search(r"(?m)^  pod_cidr:", uncommented)
