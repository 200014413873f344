"""The desk device itself: complete while it is up, gone without a trace when it is down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lablib import belongings, kernel, teardown
from scripts.lablib import device as devices

from . import lab as labs
from . import manifests

NewLab = Callable[..., labs.Lab]


def traces(lab: labs.Lab) -> set[str]:
    """Whatever on this machine belongs to the device."""
    device = lab.device
    tops = [device.run, device.data]
    found = {str(path) for path in tops if path.exists()}
    found |= set(kernel.beneath(kernel.mounts(), tops))
    found |= {str(group) for group in kernel.cgroup_dirs(device.cgroup)}
    found |= {name for name in (device.netns, device.lan) if kernel.netns_exists(name)}
    found |= {str(pid) for pid in kernel.pids_with_argument(str(device.containerd_socket))}
    lock = devices.RUN / f".{device.name}.lock"
    return found | ({str(lock)} if lock.exists() else set())


def shared_traces(lab: labs.Lab) -> set[Path]:
    """What the device has in the directories that all instances of containerd share."""
    found = teardown.shim_sockets(lab.device)
    for top in ("fifo", "runc"):
        for directory, inner, files in os.walk(Path("/run/containerd") / top):
            names = (name for name in (*inner, *files) if lab.name in name)
            found |= {Path(directory) / name for name in names}
    return found


def run_containers(lab: labs.Lab, images: dict[str, Path]) -> None:
    lab.run("ctr", "image", "import", str(images["busybox-latest"]))
    for name in (f"{lab.name}-one", f"{lab.name}-two"):
        # Not where edgeorch removes what is of no pod.
        group = f"{lab.device.cgroup}/others/{name}"
        image = "docker.io/library/busybox:latest"
        lab.run("ctr", "run", "-d", "--cgroup", group, image, name, "sleep", "1000")


def running_tasks(lab: labs.Lab) -> set[str]:
    """Each with its process; containerd lists them in no particular order."""
    return set(lab.run("ctr", "task", "list").stdout.splitlines())


def test_exec_passes_input_output_exit_code_and_surroundings(lab: labs.Lab) -> None:
    script = 'cat; echo "$KUBECONFIG $CONTAINERD_ADDRESS $CONTAINERD_NAMESPACE"; exit 7'
    command = [str(labs.LAB), "exec", lab.name, "--", "sh", "-c", script]
    result = labs.call(command, stdin="hello\n", check=False)
    assert result.returncode == 7
    device = lab.device
    surroundings = f"{device.kubeconfig} {device.containerd_socket} edgeorch"
    assert result.stdout.splitlines() == ["hello", surroundings]


def test_nothing_leaves_a_device(lab: labs.Lab) -> None:
    routes = lab.run("ip", "route", "show", "default").stdout
    assert routes.split()[:2] == ["unreachable", "default"]
    code = "import socket; socket.create_connection(('192.0.2.1', 9), 2)"
    refused = lab.run("python3", "-c", code, check=False)
    assert "No route to host" in refused.stderr or "Network is unreachable" in refused.stderr


def test_the_uplink_reaches_the_neighbour_and_is_the_internal_ip(lab: labs.Lab) -> None:
    code = f"import socket; socket.create_connection(('{lab.address}', 6443), 5)"
    lab.from_lan("python3", "-c", code)
    addresses = lab.items("nodes")[0]["status"]["addresses"]
    assert {"type": "InternalIP", "address": lab.address} in addresses


def test_up_again_changes_nothing(lab: labs.Lab) -> None:
    before = lab.pid
    lab.up()
    assert lab.pid == before


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_containers_outlive_edgeorch(verb: str, new_lab: NewLab, images: dict[str, Path]) -> None:
    lab = new_lab()
    run_containers(lab, images)
    tasks = running_tasks(lab)
    first = lab.pid
    lab.lab(verb)
    assert lab.lab("pid", check=False).returncode != 0
    assert running_tasks(lab) == tasks
    lab.lab("start")
    assert lab.pid != first
    lab.down()
    assert traces(lab) == set()


def test_devices_live_side_by_side(new_lab: NewLab) -> None:
    first, second = new_lab(), new_lab()
    assert first.address != second.address
    first.down()
    assert traces(first) == set()
    assert second.pid
    listed = labs.call([str(labs.LAB), "list"]).stdout
    assert second.name in listed
    assert first.name not in listed


def test_config_is_merged_over_the_defaults(new_lab: NewLab, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("node: {name: other-name}\n")
    lab = new_lab("--config", str(config))
    assert [node["metadata"]["name"] for node in lab.items("nodes")] == ["other-name"]


def test_an_unknown_key_fails_with_its_name(new_lab: NewLab, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("no_such_key: 1\n")
    with pytest.raises(labs.CommandError, match="no_such_key"):
        new_lab("--config", str(config))


def test_down_leaves_nothing_of_a_working_device(new_lab: NewLab, images: dict[str, Path]) -> None:
    lab = new_lab()
    run_containers(lab, images)
    shared = shared_traces(lab)
    assert traces(lab)
    assert {path.parts[3] for path in shared} == {"s", "fifo", "runc"}
    lab.down()
    assert traces(lab) == set()
    assert not {path for path in shared if path.exists()}


def _crash(lab: labs.Lab) -> None:
    """containerd and edgeorch die at once; shims, containers and mounts stay."""
    for program in ("edgeorch", "containerd"):
        pid = kernel.read_pid(lab.device.pid_file(program))
        assert pid is not None
        os.kill(pid, 9)


def _freeze(lab: labs.Lab) -> None:
    lab.run("ctr", "task", "pause", f"{lab.name}-one")


def _lose_records(lab: labs.Lab) -> None:
    for path in lab.device.run.glob("*"):
        if path.is_file():
            path.unlink()


def _litter(lab: labs.Lab) -> None:
    """Mounts in layers, a pinned namespace, and a stranger's process in the device."""
    nested = lab.device.data / "edgeorch/some where"
    nested.mkdir(parents=True)
    for point in (nested, nested):
        subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    pin = lab.device.run / "pin"
    pin.touch()
    subprocess.run(["unshare", f"--net={pin}", "true"], check=True)
    command, env = lab.command("sleep", "1000")
    subprocess.Popen(command, env=env, start_new_session=True).returncode = 0


@pytest.mark.parametrize("trouble", [_crash, _freeze, _lose_records, _litter])
def test_down_works_on_a_device_in_trouble(
    trouble: Callable[[labs.Lab], None], new_lab: NewLab, images: dict[str, Path]
) -> None:
    lab = new_lab()
    run_containers(lab, images)
    trouble(lab)
    lab.down()
    assert traces(lab) == set()


def test_down_works_on_a_half_made_device(no_stale_labs: None) -> None:
    lab = labs.Lab(f"t{os.getpid()}-half")
    kernel.ip("netns", "add", lab.device.netns)
    (lab.device.run / "containerd").mkdir(parents=True)
    lab.device.record.write_text('{"address": "198.1')
    lab.down()
    assert traces(lab) == set()
    lab.down()


def test_up_mends_a_device_whose_containerd_died(new_lab: NewLab) -> None:
    lab = new_lab()
    _crash(lab)
    lab.up()
    assert lab.items("nodes")


def test_what_a_device_makes_is_known_to_who_removes_it(lab: labs.Lab, namespace: str) -> None:
    """scripts/uninstall deletes nothing else."""
    lab.apply(manifests.pod("logs"), "-n", namespace)
    lab.wait("pod/logs", "condition=Ready", "-n", namespace)
    made = os.listdir(lab.device.data / "edgeorch")
    names = (*belongings.DATA, belongings.RECORD, "storage")
    assert [name for name in made if not belongings.is_own(name, names)] == []
    made = os.listdir(lab.device.run / "edgeorch")
    assert [name for name in made if not belongings.is_own(name, belongings.RUN)] == []
    made = os.listdir(lab.device.data / "pods")
    assert [name for name in made if not belongings.is_own(name, belongings.LOGS)] == []
