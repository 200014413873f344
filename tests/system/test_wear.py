"""A device that may write next to nothing: it says so, spares the medium, and loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lablib import lifecycle

from . import lab as labs


def _condition(device: labs.Lab) -> labs.Object | None:
    every = device.get("node")["items"][0]["status"]["conditions"]
    return next((c for c in every if c["type"] == "FlashBudgetExceeded"), None)


def _figure(device: labs.Lab, name: str) -> float:
    lines = device.health("/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.ask(2)
def test_above_the_budget_what_is_wanted_is_as_durable_as_ever(
    new_lab: Callable[..., labs.Lab], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("flash: {daily_budget: 4096}\n")
    device = new_lab("--config", str(config))

    assert _figure(device, "edgeorch_flash_written_day_bytes") > 4096  # and looks
    assert _figure(device, "edgeorch_flash_budget_bytes") == 4096
    labs.until(lambda: _condition(device), "the condition")
    told = _condition(device)
    assert told
    assert (told["status"], told["reason"]) == ("True", "WritesTooMuch")
    assert "of a budget of 4 KiB written in a day" in told["message"]
    labs.until(
        lambda: device.items("events", "--field-selector", "reason=WritesTooMuch"), "its event"
    )
    assert "FlashBudgetExceeded" in device.kubectl("describe", "node")

    look = (str(lifecycle.PYTHON), "-m", "edgeorch", "check", "--config", str(device.device.config))
    assert "[warn] FlashBudgetExceeded: " in device.run(*look, check=False).stdout

    device.kubectl("create", "configmap", "wanted", "--from-literal=a=b")
    device.lab("kill")
    device.lab("start")
    assert device.get("configmap", "wanted")["data"] == {"a": "b"}

    before = _figure(device, "edgeorch_flash_written_day_bytes")
    device.lab("stop")
    device.lab("start")
    assert _figure(device, "edgeorch_flash_written_day_bytes") >= before
