"""What all tests share."""

from __future__ import annotations

import hypothesis

# A slow shared machine is no failure; what an example costs is not what is tested.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")
