"""Images on a device as its owner sees them: preloaded, pulled slowly, listed, kept, removed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from scripts.lablib import lifecycle
from tests.component.runtime import archives

from . import lab as labs
from . import pulls

CONFIG = """\
images:
  max_bytes_per_second: 4000000
  gc_high_percent: 1
  gc_low_percent: 0
  gc_min_age: 0
"""


def pod(name: str, image: str) -> labs.Object:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "1000"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


def _messages(lab: labs.Lab, name: str, reason: str) -> list[str]:
    selector = f"involvedObject.name={name},reason={reason}"
    return [event["message"] for event in lab.items("events", "-A", f"--field-selector={selector}")]


def test_images_from_the_folder_from_a_registry_and_back(
    new_lab: Callable[..., labs.Lab], tmp_path: Path, images: dict[str, Path]
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    lab = new_lab("--config", str(tmp_path / "config.yaml"))

    def image(*words: str, check: bool = True) -> labs.Result:
        python = str(lifecycle.PYTHON)
        config = ("--config", str(lab.device.config))
        return lab.run(python, "-m", "edgeorch", "image", *words, *config, check=check)

    # An archive that appears in the folder is there for pods; a broken one is told with its name.
    folder = lab.device.data / "edgeorch/images"
    shutil.copy(images["busybox-latest"], folder / "busybox.tar")
    (folder / "broken.tar.gz").write_bytes(b"\x1f\x8bnot really")
    lab.apply(pod("preloaded", "busybox"))
    lab.wait("pod/preloaded", "condition=Ready")
    node = lab.device.name
    labs.until(lambda: _messages(lab, node, "ImageArchiveFailed"), "the broken archive is told")
    assert f"{folder}/busybox.tar has it" in image("remove", "busybox", check=False).stderr
    assert "broken.tar.gz: cannot inflate it" in _messages(lab, node, "ImageArchiveFailed")[0]
    listed = lab.get("node", node)["status"]["images"]
    assert any("docker.io/library/busybox:latest" in entry["names"] for entry in listed)

    # How far a pull is shows in the events and in what the container waits for.
    with pulls.registry(lab, tmp_path) as host:
        noise = f"{host}/team/noise:1"
        lab.apply(pod("slow", noise))
        shown = re.compile(rf'Pulling image "{noise}": [\d.]+ of [\d.]+ MB \(\d+%\), [\d.]+ MB/s')

        def waiting() -> str:
            status = lab.get("pod", "slow").get("status", {})
            state = (status.get("containerStatuses") or [{}])[0].get("state", {})
            found = state.get("waiting", {})
            return str(found.get("message", "")) if found["reason"] == "ContainerCreating" else ""

        assert shown.fullmatch(labs.until(waiting, "the container tells how far its image is"))
        assert "PullProgress" in lab.kubectl("describe", "pod", "slow")
        assert len(_messages(lab, "slow", "PullProgress")) == 1
        lab.wait("pod/slow", "condition=Ready")
        pulled = _messages(lab, "slow", "Pulled")[0]
        assert re.match(rf'Successfully pulled image "{noise}" in [\d.]+s \([\d.]+s inc', pulled)

        # By hand, too.
        image("remove", "--force", noise)
        again = image("pull", noise)
        assert again.stdout == f"{noise}\n"
        assert re.search(r"of [\d.]+ MB \(100%\)", again.stderr)
        absent = image("pull", f"{host}/team/absent", check=False)
        assert (absent.returncode, "not found" in absent.stderr) == (1, True)

    used = image("remove", noise, check=False)
    assert used.returncode == 1
    assert f"cannot remove {noise}: pod default/slow uses it" in used.stderr
    archives.oci(tmp_path / "pinned.tar", "team/pinned:1", mark="pinned")
    archives.oci(tmp_path / "loose.tar", "team/loose:1", mark="loose")
    image("import", str(tmp_path / "pinned.tar"), str(tmp_path / "loose.tar"))
    image("pin", "team/pinned:1")
    assert image("prune", "--dry-run").stdout == "docker.io/team/loose:1\n"
    assert re.search(r"docker.io/team/pinned:1 .* yes", image("list").stdout)

    # The medium counts as full from the first percent on: what nobody wants goes at the next look.
    lab.lab("stop")
    lab.lab("start")

    def present() -> set[str]:
        listed = lab.get("node", node)["status"]["images"]
        return {name for entry in listed for name in entry["names"]}

    labs.until(lambda: "docker.io/team/loose:1" not in present(), "the unwanted image is gone")
    kept = {"docker.io/library/busybox:latest", noise, "docker.io/team/pinned:1"}
    assert kept <= present()
    image("unpin", "team/pinned:1")
    assert image("prune").stdout == "docker.io/team/pinned:1\n"
    (folder / "busybox.tar").unlink()
    used = image("remove", "busybox", check=False)
    assert "pod default/preloaded uses it" in used.stderr
    assert lab.get("pod", "slow")["status"]["containerStatuses"][0]["restartCount"] == 0
