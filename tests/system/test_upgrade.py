"""The program is upgraded under running containers, and goes back from a version that fails.

scripts/launch runs as in production, under a service manager; versions are directories beside it.
The one that works is this checkout.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from edgeorch.lib import trial
from scripts.lablib import kernel, lifecycle

from . import lab as labs
from . import manifests
from .service_manager import ServiceManager

START_SECONDS = 60.0
WATCHDOG = 4.0
WORKS = f'#!/bin/sh\nexec {lifecycle.PYTHON} -m edgeorch "$@"\n'


def patched(code: str) -> str:
    """The program, with this done to it first."""
    code = f"import os, signal, sys, threading, time\n{code}\nfrom edgeorch import cli\n"
    return f"#!/bin/sh\nexec {lifecycle.PYTHON} -c '{code}sys.exit(cli.main())' \"$@\"\n"


DIES_SOON = """
from edgeorch.lib import sdnotify
tell = sdnotify.notify
def notify(*lines, **more):
    told = tell(*lines, **more)
    if "READY=1" in lines:
        threading.Timer(1, os._exit, [1]).start()
    return told
sdnotify.notify = notify
"""
BLOCKS = """
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(10**6))
"""


class Installation:
    """What scripts/install makes in /opt/edgeorch."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        prefix.mkdir()
        shutil.copy(labs.CHECKOUT / "scripts/launch", prefix)
        self.add("1-old", WORKS)
        (prefix / "current").symlink_to("1-old")

    def add(self, name: str, script: str) -> None:
        program = self.prefix / name / "bin/edgeorch"
        program.parent.mkdir(parents=True)
        program.write_text(script)
        program.chmod(0o755)

    @property
    def current(self) -> str:
        return os.readlink(self.prefix / "current")

    @property
    def on_trial(self) -> bool:
        return (self.prefix / "trial").exists()

    @property
    def failed(self) -> trial.Record | None:
        return trial.read(self.prefix / trial.FAILED)

    def upgrade(self, name: str, script: str, settle: float = 2, deadline: float = 60) -> None:
        self.add(name, script)
        (self.prefix / trial.FAILED).unlink(missing_ok=True)
        (self.prefix / "trial").write_text(f"{name} {self.current} {settle} {deadline}\n")
        (self.prefix / ".next").symlink_to(name)
        (self.prefix / ".next").rename(self.prefix / "current")


@pytest.fixture(scope="module")
def own(
    fresh_lab: Callable[[], labs.Lab], images: dict[str, Path], no_stale_labs: None
) -> Iterator[labs.Lab]:
    device = fresh_lab()
    try:
        device.up()
        device.load(images["busybox-latest"])
        device.apply(manifests.pod("witness"))
        device.wait("pod/witness", "condition=Ready")
        yield device
    finally:
        device.down()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("opt") / "edgeorch")


@pytest.fixture(scope="module")
def manager(own: labs.Lab, installed: Installation) -> Iterator[ServiceManager]:
    def start_seconds() -> float:
        return 1.0 if installed.current == "hangs" else START_SECONDS

    own.lab("stop")
    with ServiceManager(own, installed.prefix / "launch", start_seconds, WATCHDOG) as running:
        labs.until(lambda: running.ready, "the first version is ready")
        yield running


Seen = tuple[object, ...]


def witness(lab: labs.Lab) -> Seen:
    """The container and the process that an upgrade must not touch."""
    pod = lab.get("pod/witness")
    tasks = [line.split() for line in lab.run("ctr", "task", "list").stdout.splitlines()[1:]]
    started = [(task, pid, kernel.started_at(int(pid))) for task, pid, _ in tasks]
    return (pod["metadata"]["uid"], pod["status"]["containerStatuses"], started)


@pytest.fixture
def untouched(own: labs.Lab, manager: ServiceManager) -> Iterator[None]:
    before = witness(own)
    assert before[2]
    yield
    own.wait("pod/witness", "condition=Ready")
    assert witness(own) == before


def ready(lab: labs.Lab) -> bool:
    try:
        return lab.health("/readyz").status == 200
    except OSError:
        return False


def condition(lab: labs.Lab) -> tuple[str, str, str]:
    node = lab.get(f"node/{lab.name}")
    found = next(each for each in node["status"]["conditions"] if each["type"] == trial.CONDITION)
    return found["status"], found["reason"], found["message"]


@pytest.mark.ask(21)
@pytest.mark.usefixtures("untouched")
def test_an_upgrade_leaves_containers_alone(
    own: labs.Lab, installed: Installation, manager: ServiceManager
) -> None:
    assert condition(own)[:2] == ("False", "NoneFailed")
    installed.upgrade("2-good", WORKS)
    manager.restart()
    labs.until(lambda: not installed.on_trial, "it has passed its trial")
    assert (installed.current, installed.failed) == ("2-good", None)
    labs.until(lambda: condition(own)[1] == "NoneFailed", "the trial is over")


CRASHES = {
    "imports": f"#!/bin/sh\nexec {lifecycle.PYTHON} -c 'import edgeorch.of_tomorrow'\n",
    "no-python": "#!/nowhere/bin/python\n",
}
"""As scripts/launch sees them all crashes are one; its own tests have more of them."""
FAILS = {
    **dict(list(CRASHES.items())[: labs.rounds(1, len(CRASHES))]),
    "hangs": "#!/bin/sh\nexec sleep infinity\n",
    "dies-soon": patched(DIES_SOON),
    "not-ready": "",
}


@pytest.mark.ask(21)
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", FAILS)
def test_a_version_that_fails_is_left_for_the_one_before(
    own: labs.Lab, installed: Installation, manager: ServiceManager, name: str
) -> None:
    before, script, deadline = installed.current, FAILS[name], 60
    if name == "not-ready":  # it runs and never can do its work
        config = yaml.safe_load(own.device.config.read_text())
        config["containerd"] |= {"address": "/nowhere/containerd.sock", "start_command": []}
        elsewhere = own.device.run / "elsewhere.yaml"
        elsewhere.write_text(yaml.safe_dump(config))
        run = f"{lifecycle.PYTHON} -m edgeorch serve --config {elsewhere}"
        script, deadline = f"#!/bin/sh\nexec {run}\n", 1
    installed.upgrade(name, script, deadline=deadline)
    starts = len(manager.starts)
    manager.restart()
    labs.until(lambda: installed.failed is not None and ready(own), "the way back")
    assert (installed.current, installed.on_trial) == (before, False)
    failed = installed.failed
    assert failed is not None
    assert (failed.version, failed.previous, failed.starts) == (name, before, trial.STARTS)
    assert ("containerd" in failed.why) is (name == "not-ready")
    assert len(manager.starts) == starts + trial.STARTS + 1
    status, reason, message = condition(own)
    assert (status, reason) == ("True", "WentBack")
    assert message.startswith(f"{name} did not become ready in 3 starts")
    events = own.items("events", "--field-selector", "reason=WentBack")
    assert [each["message"] for each in events] == [message]


@pytest.mark.usefixtures("untouched")
def test_a_loop_that_hangs_gives_no_sign_of_life_and_is_ended(
    own: labs.Lab, installed: Installation, manager: ServiceManager
) -> None:
    installed.upgrade("3-blocks", patched(BLOCKS))
    manager.restart()
    labs.until(lambda: not installed.on_trial, "it has passed its trial")
    pid = manager.pid
    labs.until(lambda: manager.alive.count(pid) > 1, "it feeds the watchdog")
    assert manager.late == []
    manager.send(signal.SIGUSR1)
    labs.until(lambda: manager.late == [pid], "the watchdog")
    labs.until(lambda: manager.pid in manager.ready and ready(own), "the next one")
