"""AppArmor on this host: which profile a container is confined by, and that it is loaded.

Sources: apparmor(7), apparmor_parser(8), /sys/kernel/security/apparmor.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from typing import TYPE_CHECKING

from edgeorch.agent.profiles import ProfileError
from edgeorch.core import app_armor

if TYPE_CHECKING:
    from edgeorch.model import views

_ENABLED = pathlib.Path("/sys/module/apparmor/parameters/enabled")
_LOADED = pathlib.Path("/sys/kernel/security/apparmor/profiles")
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_LIMIT = 30.0


class AppArmor:
    def __init__(self, enabled: pathlib.Path = _ENABLED, loaded: pathlib.Path = _LOADED) -> None:
        self._loaded = loaded
        self.available = _text(enabled).startswith("Y")

    def profile(self, pod: views.Pod, container: views.Container) -> str:
        """`process.apparmorProfile`, "" for none. Raises ProfileError. Blocks."""
        wished = app_armor.wish(pod, container)
        if wished is None or not self.available:
            return ""
        match wished.type:
            case "Localhost":
                if wished.localhost_profile not in self._names():
                    raise ProfileError(f"apparmor profile not found {wished.localhost_profile}")
                return wished.localhost_profile
            case "RuntimeDefault":
                self._load_default()
                return app_armor.DEFAULT
            case _:
                return app_armor.UNCONFINED

    def _names(self) -> set[str]:
        """Lines of the kernel's list read `name (mode)`."""
        return {line.rpartition(" (")[0] for line in _text(self._loaded).splitlines()}

    def _load_default(self) -> None:
        if app_armor.DEFAULT in self._names():
            return
        parser = shutil.which("apparmor_parser", path=_PATH)
        if parser is None:
            raise ProfileError(
                f"cannot load the apparmor profile {app_armor.DEFAULT}: apparmor_parser is missing "
                "on the node (apt-get install apparmor)"
            )
        try:
            done = subprocess.run(
                [parser, "-Kr"],
                input=app_armor.PROFILE,
                text=True,
                capture_output=True,
                timeout=_LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProfileError(f"cannot load the apparmor profile: {error}") from error
        if done.returncode:
            told = done.stderr.strip()
            raise ProfileError(f"cannot load the apparmor profile {app_armor.DEFAULT}: {told}")


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
