"""What containerd calls end in when they fail, as native exceptions.

gRPC status codes stop at client.py; nothing outside this package sees them. Messages are
containerd's own: they go into pod conditions, where people look them up.
"""

from __future__ import annotations


class ContainerdError(Exception):
    """A call that failed; `str()` is containerd's message."""


class NotFound(ContainerdError):
    """No such container, task, image, snapshot or blob."""


class AlreadyExists(ContainerdError):
    """The name or key is taken."""


class FailedPrecondition(ContainerdError):
    """The thing is in the wrong state: a running task is deleted, a stopped one killed."""


class InvalidArgument(ContainerdError):
    """The request makes no sense to containerd: a bug here, or a hostile name."""


class Unavailable(ContainerdError):
    """containerd cannot be reached, or went away during the call: try again later."""


class DeadlineExceeded(Unavailable):
    """No answer in time; whether the call took effect is unknown."""


class EventsLost(Unavailable):
    """The event stream broke: subscribe again, then list, because events were missed."""


class BadArchive(Exception):
    """An image archive that cannot be imported; the message names the file and what is wrong."""


class BadImage(ContainerdError):
    """An image whose index, manifest or configuration cannot be used on this device."""


class ExecTimeout(ContainerdError):
    """An exec that ran longer than it may; it has been killed."""
