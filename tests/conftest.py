"""What all tests share."""

from __future__ import annotations

import gc

import hypothesis
import pytest

# A slow shared machine is no failure; what an example costs is not what is tested.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Event loops that plugins left go now: plugins parse code when a session ends, and CPython
    3.11 fails in that when something that complains is collected meanwhile (cpython#106905)."""
    gc.collect()
