"""Why a volume cannot be had."""

from __future__ import annotations


class VolumeError(Exception):
    """A volume cannot be set up; the text is what the FailedMount event says.

    `whole`: it says already of which volume, and what failed.
    """

    def __init__(self, message: str, *, whole: bool = False) -> None:
        super().__init__(message)
        self.whole = whole


class SubPathError(VolumeError):
    """What a container is to see of a volume cannot be had: CreateContainerConfigError."""
