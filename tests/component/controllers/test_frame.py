"""What all controllers have in common: retries, figures, and what the log says they are about."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

import pytest

from edgeorch.controllers import frame
from edgeorch.lib import journal, metrics, tasks
from edgeorch.model import errors
from tests import exposition

pytestmark = pytest.mark.looptime


class Erratic(frame.Controller[tuple[str, str]]):
    """Fails in each way once, then has to be called again, then is content."""

    name: ClassVar[str] = "erratic-controller"

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()
        self._left: list[Exception | float] = [
            errors.conflict("pods", "web", "x"),
            KeyError("x"),
            3.0,
        ]

    async def reconcile(self, key: tuple[str, str]) -> float | None:
        if not self._left:
            self.done.set()
            return None
        left = self._left.pop(0)
        if isinstance(left, Exception):
            raise left
        return left


def figures(*running: object) -> exposition.Told:
    registry = metrics.Registry()
    frame.measure(registry, running)
    return exposition.parse(registry.render())


async def test_what_reconciliations_come_to_is_told() -> None:
    controller = Erratic()
    of = {"controller": "erratic-controller"}
    assert figures(controller).value("controller_runtime_reconcile_total", **of) == 0
    controller.wake(("default", "web"))
    assert figures(controller).value("workqueue_depth", name="erratic-controller") == 1
    async with tasks.running({controller.name: controller.run}):
        await controller.done.wait()
        await controller.queue.idle()
    told = figures(controller, "no controller")
    for result, count in (("success", 1), ("error", 2), ("requeue_after", 1)):
        assert told.value("controller_runtime_reconcile_total", result=result, **of) == count
    assert told.value("workqueue_work_duration_seconds_count", name="erratic-controller") == 4
    assert told.value("workqueue_retries_total", name="erratic-controller") == 2
    assert told.value("workqueue_adds_total", name="erratic-controller") == 4
    assert told.value("workqueue_depth", name="erratic-controller") == 0


async def test_its_lines_say_whose_they_are_and_what_they_are_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, frame.__name__)
    seen: list[dict[str, str]] = []

    class Sees(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(dict(journal.entry(record, record.getMessage())))

    log, handler = logging.getLogger(frame.__name__), Sees()
    log.addHandler(handler)
    controller = Erratic()
    controller.wake(("default", "web"))
    try:
        async with tasks.running({controller.name: controller.run}):
            await controller.done.wait()
    finally:
        log.removeHandler(handler)
    assert [entry["PRIORITY"] for entry in seen] == ["6", "3"]
    for entry in seen:
        assert entry["EDGEORCH_CONTROLLER"] == "erratic-controller"
        assert entry["EDGEORCH_OBJECT"] == "default/web"
