"""Why a volume cannot be had."""

from __future__ import annotations


class VolumeError(Exception):
    """A volume cannot be set up; the text is what the FailedMount event says."""
