"""scripts/fleet-push: what was given wrongly is told before any device is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/fleet-push"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "devices").write_text("# all\n\n  # two\ngate https://127.0.0.1:1/ token\n")
    (tmp_path / "app.yaml").write_text("")
    return tmp_path


def push(folder: Path, *options: str, file: str = "app.yaml") -> tuple[int, str]:
    command = [sys.executable, str(SCRIPT), "--devices", "devices", "--bundle", "app"]
    done = subprocess.run(
        [*command, *options, file], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--devices", "absent"], "cannot read absent: No such file"),
        (["--devices", "app.yaml"], "there is no device in app.yaml"),
        (["--signature", "absent"], "cannot read absent: No such file"),
        (["--key", "app.yaml"], "cannot sign with app.yaml: "),
        (["--waves", "1,a"], "--waves: '1,a': write it like"),
        (["--waves", ""], "--waves: '': write it like"),
    ],
)
def test_what_is_wrong_is_told(folder: Path, options: list[str], told: str) -> None:
    code, output = push(folder, *options)
    assert code == 2
    assert output.startswith(f"fleet-push: {told}")


@pytest.mark.parametrize("line", ["gate https://gate", "gate gate:6443 token", "a https://b c d e"])
def test_a_line_that_names_no_device_is_told(folder: Path, line: str) -> None:
    (folder / "devices").write_text(f"# all\n{line}\n")
    code, output = push(folder)
    assert code == 2
    assert "devices, line 2: write it like NAME https://" in output


def test_manifests_must_be_there(folder: Path) -> None:
    code, output = push(folder, file="absent.yaml")
    assert code == 2
    assert "cannot read absent.yaml" in output
