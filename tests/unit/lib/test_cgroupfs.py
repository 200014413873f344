"""The kernel's command line on a Raspberry Pi: edited on its one line, the former kept."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch.lib import cgroupfs

PLAIN = "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootwait quiet"
ADDED = "cgroup_enable=memory cgroup_memory=1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(f"{PLAIN}\n", f"{PLAIN} {ADDED}\n", id="as it comes"),
        pytest.param(f"{PLAIN}", f"{PLAIN} {ADDED}\n", id="no end of line"),
        pytest.param(f"{PLAIN}\n{ADDED}\n", f"{PLAIN} {ADDED}\n", id="on a second line"),
        pytest.param(
            f"{PLAIN} cgroup_disable=memory\n", f"{PLAIN} {ADDED}\n", id="switched off there"
        ),
        pytest.param(
            f"{PLAIN} cgroup_enable=memory\n", f"{PLAIN} {ADDED}\n", id="half of it is there"
        ),
        pytest.param(
            "quiet -- single cgroup\n", f"quiet {ADDED} -- single cgroup\n", id="words for init"
        ),
        pytest.param(f"{PLAIN} {ADDED}\n", f"{PLAIN} {ADDED}\n", id="done already"),
    ],
)
def test_the_words_come_to_the_end_of_the_one_line(before: str, after: str) -> None:
    assert cgroupfs.with_controllers(before, ["memory"]) == after
    assert cgroupfs.with_controllers(after, ["memory"]) == after


@pytest.mark.ask(27)
@pytest.mark.parametrize("name", ["firmware/cmdline.txt", "cmdline.txt"])
def test_the_file_that_is_there_is_edited_and_the_former_kept(
    tmp_path: pathlib.Path, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{PLAIN}\n")

    told = cgroupfs.switch_on(["memory"], tmp_path)
    again = cgroupfs.switch_on(["memory"], tmp_path)

    assert path.read_text() == f"{PLAIN} {ADDED}\n"
    assert path.with_name("cmdline.txt.before-edgeorch").read_text() == f"{PLAIN}\n"
    assert told == (
        f"added `{ADDED}` to {path} (the former is cmdline.txt.before-edgeorch): reboot"
    )
    assert again == f"{path} has it already: reboot"
    assert len(list(path.parent.glob("cmdline*"))) == 2


def test_where_there_is_no_such_file_it_says_so(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        cgroupfs.switch_on(["memory"], tmp_path)
