"""protobuf timestamps as datetimes."""

from __future__ import annotations

import datetime

from google.protobuf import timestamp_pb2

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def moment(stamp: timestamp_pb2.Timestamp) -> datetime.datetime | None:
    """None for "not set": containerd sends Go's zero time (year 1) or an empty message for it."""
    if stamp.seconds <= 0 and stamp.nanos == 0:
        return None
    return _EPOCH + datetime.timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
