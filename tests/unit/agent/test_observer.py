"""Whatever order the words about a container come in, they add up to the same."""

from __future__ import annotations

import asyncio
import datetime
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import pytest

from edgeorch.agent import observer as observers
from edgeorch.core import container_labels
from edgeorch.core.observed import Container, Kind, State
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from edgeorch.runtime import events

ID = "u-main-0"
START, END = "2026-01-01T00:00:01Z", datetime.datetime(2026, 1, 1, 0, 0, 2, tzinfo=datetime.UTC)


class Endings:
    """Takes its time: `meanwhile` happens before the reason is known."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None

    async def describe(
        self, uid: str, container: Container, code: int, labels: Mapping[str, str], *, oom: bool
    ) -> tuple[str, str]:
        self.meanwhile()
        return ("Completed" if code == 0 else "Error"), ""


Step = events.Event | Callable[[observers.Observer], None]


class Script:
    """containerd's events and, between them, what the executor tells; then silence."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = steps
        self.observer: observers.Observer
        self.over = asyncio.Event()

    async def subscribe(self) -> AsyncIterator[events.Event]:
        for step in self._steps:
            if callable(step):
                step(self.observer)
            else:
                yield step
        self.over.set()
        await asyncio.Event().wait()


async def played(steps: Iterable[Step], meanwhile: Step | None = None) -> Container:
    """The container after all that."""
    script, endings = Script(steps), Endings()
    found = watching(endings, script)
    script.observer = found
    if callable(meanwhile):
        endings.meanwhile = functools.partial(meanwhile, found)
    with found.starting(ID):
        async with tasks.running({"observer": found.run}):
            await script.over.wait()
    container = found.container(ID)
    assert container is not None
    return container


def watching(endings: Endings, script: Script) -> observers.Observer:
    found = observers.Observer(
        containers=None,  # type: ignore[arg-type]
        stream=script,
        details=endings,  # type: ignore[arg-type]
        clock=clocks.SystemClock(),
        boot="b",
    )
    birth = container_labels.Birth(
        pod_uid="u", pod_name="p", pod_namespace="n", name="main", kind=Kind.MAIN, attempt=0,
        spec_hash="h", sandbox="s", boot="b", image="i", image_id="d", crashes=0,
        accepted_at=1.0, created_at=2.0,
    )  # fmt: skip
    found.created(ID, container_labels.encode(birth))
    return found


EXIT = events.TaskExited(container_id=ID, exec_id="", pid=7, exit_code=0, exited_at=END)
BEGUN = events.TaskStarted(container_id=ID, pid=7)


def told(observer: observers.Observer) -> None:
    """The executor has heard that the start went well."""
    observer.running(ID, 7, 10.0, START)


@pytest.mark.parametrize("steps", list(itertools.permutations([BEGUN, EXIT, told])))
async def test_what_has_ended_is_never_running_again(steps: tuple[Step, ...]) -> None:
    container = await played(steps)
    assert container.state is State.ENDED
    assert container.exit is not None
    assert container.exit.code == 0
    assert container.exit.started


async def test_a_start_heard_of_while_the_end_is_looked_into() -> None:
    container = await played([EXIT], meanwhile=told)
    assert container.state is State.ENDED
    assert container.exit is not None
    assert (container.exit.started, container.exit.finished) == (START, "2026-01-01T00:00:02Z")


async def test_what_is_cleared_away_before_it_ran_has_not_ended() -> None:
    """A shim that held a task never started dies: containerd tells of an exit all the same."""
    script, endings = Script([EXIT]), Endings()
    found = watching(endings, script)
    async with tasks.running({"observer": found.run}):
        await script.over.wait()
    container = found.container(ID)
    assert container is not None
    assert container.state is State.CREATED


async def test_the_end_of_a_task_cleared_away_is_not_that_of_the_next() -> None:
    """Its word comes late: while the task made in its place is being started."""
    script, endings = Script([EXIT, BEGUN]), Endings()
    found = watching(endings, script)
    found.disregard(ID, EXIT.pid)
    with found.starting(ID):
        async with tasks.running({"observer": found.run}):
            await script.over.wait()
    container = found.container(ID)
    assert container is not None
    assert container.state is State.RUNNING
