"""The served OpenAPI, driven by schemathesis: whatever fits the schema, or nearly, no answer is a
5xx, and the device goes on. (Bodies, patches and selectors at large: tests/component/api.)"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from . import lab as labs

GROUPS = ["api/v1", "apis/apps/v1", "apis/batch/v1", "apis/networking.k8s.io/v1"]
# Streams wait for a client; a namespace or node that goes takes the rest of the run with it.
LEFT_OUT = r"/(exec|attach|portforward|proxy|log|watch)|/namespaces/\{name\}$|/nodes"


@pytest.fixture
def own(new_lab: Callable[..., labs.Lab]) -> labs.Lab:
    return new_lab()


@pytest.mark.timeout(labs.rounds(700, 12_500))
def test_no_request_that_fits_the_schema_fails_the_server(own: labs.Lab, tmp_path: Path) -> None:
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program, "schemathesis comes with the development environment"
    config = tmp_path / "schemathesis.toml"
    # A watch ends when its client has had enough, which this one never has.
    config.write_text('[parameters]\n"query.watch" = false\n')
    memory = Path(f"/proc/{own.pid}/status")
    for group in GROUPS if labs.rounds(0, 1) else GROUPS[2:3]:
        told = own.run(
            program, "--config-file", str(config), "run", f"https://127.0.0.1:6443/openapi/v3/{group}",
            "--url", "https://127.0.0.1:6443", "-H", f"Authorization: Bearer {own.token}",
            "--tls-verify", "false", "--checks", "not_a_server_error", "--phases", "fuzzing",
            "--max-examples", str(labs.rounds(2, 50)), "--request-timeout", "20",
            "--exclude-path-regex", LEFT_OUT, "--generation-database", "none", "--no-color",
            check=False, seconds=labs.rounds(600, 3000),
        )  # fmt: skip
        assert told.returncode == 0, told.stdout[-4000:]
        assert " passed" in told.stdout
    assert memory.exists(), "the same process still serves"
    assert "Ready" in own.kubectl("get", "nodes")
