"""Volumes of pods: made before the first container starts, kept current while they run.

On disk under `<data_dir>/pods/UID/volumes`: emptyDir, configMap. On tmpfs under the sandbox's
directory: secret, projected, downwardAPI, and emptyDir of medium Memory. `shelf` sets up and takes
down; what a volume made of objects holds is said by `payloads`, how it gets there by `atomic`.
"""

from edgeorch.agent.volumes.errors import SubPathError, VolumeError
from edgeorch.agent.volumes.shelf import Volumes
from edgeorch.agent.volumes.tokens import Tokens

__all__ = ["SubPathError", "Tokens", "VolumeError", "Volumes"]
