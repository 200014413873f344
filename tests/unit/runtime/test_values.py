"""Small pure pieces of the adapter: versions, chain IDs, timestamps, events, archives' names."""

from __future__ import annotations

import datetime

import h2.connection
import pytest
from google.protobuf import any_pb2, timestamp_pb2

from edgeorch.runtime import client, errors, events, images, stamps
from edgeorch.runtime.pb import images_pb2, task_events_pb2, types_pb2
from edgeorch.wire import oci


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.6.20~ds1", (1, 6)),
        ("v1.7.24", (1, 7)),
        ("2.1.0-rc.1", (2, 1)),
        ("1.10.0", (1, 10)),
        ("unknown", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_a_version_is_read(text: str, expected: tuple[int, int]) -> None:
    assert client.parse_version(text) == expected


def test_a_chain_id_is_computed_as_the_image_spec_says() -> None:
    """ChainID(L0) = L0; ChainID(L0|L1) = sha256(ChainID(L0) + " " + L1)."""
    first, second = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    pair = "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"
    assert images.chain_id([first]) == first
    both = images.chain_id([first, second])
    assert both == pair
    assert images.chain_id([first, second, second]) == images.chain_id([both, second])


def test_times_that_are_not_set_are_none() -> None:
    assert stamps.moment(timestamp_pb2.Timestamp()) is None
    assert stamps.moment(timestamp_pb2.Timestamp(seconds=-62135596800)) is None
    moment = stamps.moment(timestamp_pb2.Timestamp(seconds=1, nanos=2000))
    assert moment == datetime.datetime(1970, 1, 1, 0, 0, 1, 2, tzinfo=datetime.UTC)


def _envelope(topic: str, message: task_events_pb2.TaskExit) -> types_pb2.Envelope:
    return types_pb2.Envelope(topic=topic, event=any_pb2.Any(value=message.SerializeToString()))


def test_the_exit_of_an_exec_is_told_from_that_of_the_container() -> None:
    first = task_events_pb2.TaskExit(container_id="c", id="c", pid=7, exit_status=1)
    assert events.decode(_envelope("/tasks/exit", first)) == events.TaskExited("c", "", 7, 1, None)
    other = task_events_pb2.TaskExit(container_id="c", id="exec-1", pid=8)
    decoded = events.decode(_envelope("/tasks/exit", other))
    assert decoded == events.TaskExited("c", "exec-1", 8, 0, None)


def test_events_nobody_acts_on_are_passed_over() -> None:
    assert events.decode(_envelope("/tasks/checkpointed", task_events_pb2.TaskExit())) is None
    deleted = images_pb2.ImageDelete(name="a").SerializeToString()
    envelope = types_pb2.Envelope(topic="/images/delete", event=any_pb2.Any(value=deleted))
    assert events.decode(envelope) == events.ImageChanged("a", removed=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"rootfs": {}}',
        b'{"rootfs": {"diff_ids": [5]}}',
        b'{"rootfs": []}',
        b'{"config": [], "rootfs": {"diff_ids": ["sha256:a"]}}',
        b'{"config": {"Entrypoint": "sh"}, "rootfs": {"diff_ids": ["sha256:a"]}}',
        b'{"config": {"Env": [5]}, "rootfs": {"diff_ids": ["sha256:a"]}}',
    ],
)
def test_what_is_no_configuration_is_a_bad_image(data: bytes) -> None:
    with pytest.raises(errors.BadImage, match="sha256:x"):
        images.parse_config(data, oci.Descriptor("", "sha256:x", len(data)))


def test_a_connection_does_not_remember_every_call_there_ever_was() -> None:
    connection = h2.connection.H2Connection()
    for number in range(3 * client.CLOSED_STREAMS):
        connection._closed_streams[number] = None
    assert len(connection._closed_streams) == client.CLOSED_STREAMS


def test_all_of_a_configuration_but_its_layers_may_be_missing() -> None:
    data = b'{"config": {"Cmd": null, "Env": ["A=1"]}, "rootfs": {"diff_ids": ["sha256:a"]}}'
    found = images.parse_config(data, oci.Descriptor("", "sha256:x", len(data)))
    assert (found.cmd, found.env, found.user, found.diff_ids) == ([], ["A=1"], "", ["sha256:a"])
    assert found.chain_id == "sha256:a"
