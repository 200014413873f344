"""What only streams need is not in memory before the first of them."""

from __future__ import annotations

import subprocess
import sys


def test_serving_imports_nothing_of_streams() -> None:
    script = (
        "import sys, edgeorch.api.server; "
        "print(*sorted(name for name in sys.modules if name.startswith('edgeorch.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    loaded = done.stdout.split()
    assert "edgeorch.api.routes" in loaded
    late = {
        "edgeorch.api.streams",
        "edgeorch.api.links",
        "edgeorch.api.portforward",
        "edgeorch.api.remote_commands",
        "edgeorch.api.spdy_sessions",
        "edgeorch.wire.spdy",
        "edgeorch.wire.channels",
        "edgeorch.wire.remote_command",
    }
    assert late.isdisjoint(loaded)
