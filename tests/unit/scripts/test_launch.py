"""scripts/launch: which version is started, and how often one on trial."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeorch.lib import trial

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/launch"
PROGRAM = """\
#!/bin/sh
echo {name} "${{EDGEORCH_TRIAL:-}}" "$@"
exit {code}
"""


class Installation:
    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        prefix.mkdir()
        shutil.copy(SCRIPT, prefix / "launch")
        self.unit = prefix.parent / "edgeorch.service"
        self.unit.write_text("new")
        self.add("1-old")
        self.add("2-new", code=1)
        self.use("1-old")

    def add(self, name: str, code: int = 0) -> None:
        program = self.prefix / name / "bin/edgeorch"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM.format(name=name, code=code))
        program.chmod(0o755)

    def use(self, name: str) -> None:
        (self.prefix / "current").unlink(missing_ok=True)
        (self.prefix / "current").symlink_to(name)

    def begin(self, starts: int = 0, text: str = "2-new 1-old 30 300\n") -> None:
        self.use("2-new")
        (self.prefix / "trial").write_text(text + "start\n" * starts)

    @property
    def current(self) -> str:
        return os.readlink(self.prefix / "current")

    @property
    def starts(self) -> int:
        found = trial.read(self.prefix / "trial")
        return found.starts if found is not None else -1

    def start(self, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": path or os.environ["PATH"], "EDGEORCH_UNIT": str(self.unit)}
        command = [str(self.prefix / "launch"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "edgeorch")


def test_the_version_in_use_is_started_as_it_is(installed: Installation) -> None:
    done = installed.start("serve", "--config", "a b")
    assert (done.stdout, done.stderr, done.returncode) == ("1-old  serve --config a b\n", "", 0)


def test_a_version_on_trial_is_started_three_times_and_then_the_former_one(
    installed: Installation,
) -> None:
    installed.begin()
    for number in (1, 2, 3):
        done = installed.start("serve")
        assert done.stdout == f"2-new {installed.prefix}/trial serve\n"
        assert (installed.starts, done.returncode) == (number, 1)
    done = installed.start("serve")
    assert (done.stdout, installed.current) == ("1-old  serve\n", "1-old")
    assert "going back to 1-old" in done.stderr
    assert not (installed.prefix / "trial").exists()
    assert trial.read(installed.prefix / "failed") == trial.Record("2-new", "1-old", starts=3)
    assert installed.start("serve").stderr == ""


def test_a_version_without_its_python_counts_as_well(installed: Installation) -> None:
    (installed.prefix / "2-new/bin/edgeorch").write_text("#!/nowhere/python\n")
    installed.begin()
    for _ in range(3):
        assert installed.start("serve").returncode in (126, 127)
    assert installed.start("serve").stdout == "1-old  serve\n"


def test_a_trial_that_was_passed_is_over(installed: Installation) -> None:
    installed.begin(starts=3)
    (installed.prefix / "trial").unlink()
    assert installed.start("serve").stdout == "2-new  serve\n"
    assert installed.current == "2-new"


def test_where_there_is_nothing_to_go_back_to_it_is_tried_on(installed: Installation) -> None:
    shutil.rmtree(installed.prefix / "1-old")
    installed.begin(starts=3)
    assert installed.start("serve").stdout.startswith("2-new ")
    assert installed.starts == 4


def test_a_way_back_that_was_cut_off_is_noted(installed: Installation) -> None:
    installed.begin(starts=3)
    installed.use("1-old")
    assert installed.start("serve").stdout == "1-old  serve\n"
    assert (installed.prefix / "failed").exists()
    assert not (installed.prefix / "trial").exists()


def test_an_installation_that_goes_on_is_not_disturbed(installed: Installation) -> None:
    installed.begin()
    installed.use("1-old")
    assert installed.start("serve").stdout == "1-old  serve\n"
    assert installed.starts == 0


@pytest.mark.parametrize("text", ["", "\n", "2-new\n", "\0\0\0\0"], ids=repr)
def test_a_file_that_says_nothing_does_no_harm(installed: Installation, text: str) -> None:
    installed.begin(text=text, starts=5)
    assert installed.start("serve").stdout.startswith("2-new ")


def test_the_unit_of_the_former_version_comes_back(installed: Installation) -> None:
    (installed.prefix / "1-old/edgeorch.service").write_text("old")
    installed.begin(starts=3)
    installed.start("serve")
    assert installed.unit.read_text() == "old"


def test_what_cannot_be_counted_is_started_all_the_same(installed: Installation) -> None:
    installed.begin()
    sync = installed.prefix / "2-new/bin/sync"  # a medium that fails
    sync.write_text("#!/bin/sh\nexit 1\n")
    sync.chmod(0o755)
    done = installed.start("serve", path=f"{sync.parent}:{os.environ['PATH']}")
    assert done.stdout.startswith("2-new ")
    assert "cannot count" in done.stderr
