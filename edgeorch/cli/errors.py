"""What a command ends in when it fails."""

from __future__ import annotations


class CommandError(Exception):
    """What the user is told; no traceback."""
