"""Devices are found by their names and by what USB calls them; nodes that exist stand for them."""

from __future__ import annotations

import asyncio
import pathlib

import msgspec
import pytest

from edgeorch.agent import device_nodes
from edgeorch.agent import devices as giving
from edgeorch.core.devices import Selector, Unit
from edgeorch.model import views

DEV = pathlib.Path("/dev")


def link(folder: pathlib.Path, name: str, node: str = "null") -> str:
    """As udev makes them."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(DEV / node)
    return str(path)


def one(selector: Selector, sys: pathlib.Path = pathlib.Path("/nowhere")) -> list[Unit]:
    return device_nodes.find({"x": selector}, DEV, sys)["x"]


def test_each_match_of_a_pattern_is_a_device(tmp_path: pathlib.Path) -> None:
    first, second = link(tmp_path, "gps-a"), link(tmp_path, "gps-b", "zero")
    link(tmp_path, "gps-same")
    link(tmp_path, "gps-gone", "no-such-device")
    (tmp_path / "gps-file").write_text("")

    found = one(Selector((f"{tmp_path}/gps-*", second)))
    assert found == [Unit(first, (first,), ("c1:3",)), Unit(second, (second,), ("c1:5",))]
    assert one(Selector((f"{tmp_path}/other*",))) == []


def test_a_group_is_there_when_all_of_it_is(tmp_path: pathlib.Path) -> None:
    selector = Selector(group=(f"{tmp_path}/video", f"{tmp_path}/media*"))
    video = link(tmp_path, "video")
    assert one(selector) == []
    media = link(tmp_path, "media0", "zero")
    assert [unit.nodes for unit in one(selector)] == [(video, media)]


def test_a_device_is_what_its_node_says(tmp_path: pathlib.Path) -> None:
    found = device_nodes.look(link(tmp_path, "null"), "r")
    assert found is not None
    assert (found.type, found.major, found.minor, found.access) == ("c", 1, 3, "r")
    assert device_nodes.look(tmp_path) is None
    assert device_nodes.look(tmp_path / "gone") is None


@pytest.fixture
def sys(tmp_path: pathlib.Path) -> pathlib.Path:
    """A hub with an adapter of two interfaces behind it, and the adapter's twin."""
    root = tmp_path / "sys"

    def usb(place: str, product: str, serial: str = "", devname: str = "") -> pathlib.Path:
        folder = root / "devices" / place
        folder.mkdir(parents=True)
        (folder / "idVendor").write_text("0403\n")
        (folder / "idProduct").write_text(f"{product}\n")
        if serial:
            (folder / "serial").write_text(f"{serial}\n")
        (folder / "uevent").write_text(f"MAJOR=189\nDEVNAME={devname}\n")
        listed = root / "bus/usb/devices"
        listed.mkdir(parents=True, exist_ok=True)
        (listed / folder.name).symlink_to(folder)
        return folder

    def tty(device: pathlib.Path, interface: str, name: str) -> None:
        folder = device / interface / "ttyX/tty/ttyX"
        folder.mkdir(parents=True)
        (folder / "uevent").write_text(f"MAJOR=4\nDEVNAME={name}\n")
        (device / interface / "subsystem").symlink_to(root)

    usb("1-1", "9999", devname="full")
    adapter = usb("1-1/1-1.1", "6001", "A1", "random")
    tty(adapter, "1-1.1:1.0", "null")
    tty(adapter, "1-1.1:1.1", "zero")
    usb("1-1/1-1.2", "6001", devname="urandom")
    usb("1-1/1-1.3", "6001", devname="no-such-node")
    return root


def test_all_nodes_of_a_usb_device(sys: pathlib.Path) -> None:
    found = one(Selector(usb=("0403:6001",)), sys)

    assert found == [
        Unit(
            "usb:0403:6001:A1",
            ("/dev/random", "/dev/null", "/dev/zero"),
            ("c1:8", "c1:3", "c1:5"),
        ),
        Unit("usb:0403:6001:1-1.2", ("/dev/urandom",), ("c1:9",)),
    ]
    # What is plugged into a hub is not the hub's.
    assert [unit.nodes for unit in one(Selector(usb=("0403:9999",)), sys)] == [("/dev/full",)]


def test_one_of_a_kind_by_its_serial_number(sys: pathlib.Path) -> None:
    found = one(Selector(usb=("0403:6001:A1",)), sys)
    assert [unit.id for unit in found] == ["usb:0403:6001:a1:A1"]
    assert one(Selector(usb=("0403:6001:A2",)), sys) == []


def test_twins_with_one_serial_number_are_two(sys: pathlib.Path) -> None:
    (sys / "bus/usb/devices/1-1.2/serial").write_text("A1\n")
    found = one(Selector(usb=("0403:6001",)), sys)
    assert [unit.id for unit in found] == ["usb:0403:6001:A1", "usb:0403:6001:1-1.2"]


def test_folders_that_are_not_there_are_waited_for(tmp_path: pathlib.Path) -> None:
    selectors = {"gps": Selector((f"{tmp_path}/serial/by-id/usb-*",))}
    assert device_nodes.watched(selectors) == {tmp_path}
    (tmp_path / "serial/by-id").mkdir(parents=True)
    assert device_nodes.watched(selectors) == {tmp_path / "serial/by-id"}
    many = {"disk": Selector((f"{tmp_path}/*/by-id/x",))}
    assert device_nodes.watched(many) == {tmp_path, tmp_path / "serial/by-id"}


def pod(uid: str, **limits: str) -> views.Pod:
    asked = {"limits": {f"devices.edgeorch.io/{name}": number for name, number in limits.items()}}
    obj = {
        "metadata": {"uid": uid, "name": uid},
        "spec": {"containers": [{"name": "main", "resources": asked}]},
    }
    return msgspec.convert(obj, views.Pod)


def test_what_is_given_stays_given_while_the_pod_lives(tmp_path: pathlib.Path) -> None:
    gps = link(tmp_path, "gps")
    one, two = pod("one", gps="1"), pod("two", gps="1")
    living = {"one": one, "two": two}
    keeper = giving.Devices({"gps": Selector((gps,), container_path="/dev/gps")}, lambda: living)

    assert keeper.give(one, one.spec.containers[0]) == {"gps": [gps]}
    (node,) = keeper.nodes({"gps": [gps]})
    assert (node.path, node.major, node.minor, node.access) == ("/dev/gps", 1, 3, "rw")
    with pytest.raises(giving.DeviceError, match="/dev/unplugged is gone"):
        keeper.nodes({"gps": ["/dev/unplugged"]})
    with pytest.raises(giving.DeviceError, match="1 asked for, 0 of 1 free"):
        keeper.give(two, two.spec.containers[0])
    # The container starts again.
    assert keeper.give(one, one.spec.containers[0]) == {"gps": [gps]}
    del living["one"]
    assert keeper.give(two, two.spec.containers[0]) == {"gps": [gps]}


def test_what_an_earlier_process_gave_is_taken(tmp_path: pathlib.Path) -> None:
    gps = link(tmp_path, "gps")
    one, two = pod("one", gps="1"), pod("two", gps="1")
    keeper = giving.Devices({"gps": Selector((gps,))}, lambda: {"one": one, "two": two})
    keeper.adopt(("one", "main"), {"gps": [gps]})

    with pytest.raises(giving.DeviceError):
        keeper.give(two, two.spec.containers[0])


async def test_what_comes_and_goes_is_told(tmp_path: pathlib.Path) -> None:
    told = asyncio.Event()
    pattern = f"{tmp_path}/serial/by-id/gps-*"
    keeper = giving.Devices({"gps": Selector((pattern,))}, dict)
    keeper.on_change = told.set
    task = asyncio.create_task(keeper.run())
    try:
        for name, node, count in (("gps-a", "null", "1"), ("gps-b", "zero", "2")):
            await asyncio.sleep(0.05)
            link(tmp_path / "serial/by-id", name, node)
            await asyncio.wait_for(told.wait(), 10)
            assert keeper.capacity == {"devices.edgeorch.io/gps": count}
            told.clear()
        (tmp_path / "serial/by-id/gps-a").unlink()
        await asyncio.wait_for(told.wait(), 10)
        assert keeper.capacity == {"devices.edgeorch.io/gps": "1"}
    finally:
        task.cancel()
