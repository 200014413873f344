"""What users of other orchestrators ask for on such devices, and where their threads are.

A test that shows one of them carries `@pytest.mark.ask(NUMBER, ...)`; `pytest -m ask` runs all of
these. tests/unit/test_asks.py holds that none is without a test, but those that are no business of
this project.
"""

from __future__ import annotations

ASKS = {
    1: "an idle device burns nothing (k3s#2278, #294, #2375, #658)",
    2: "its card is not written to death (k3s#11313, #1850, #1297)",
    3: "the database does not grow without end (k3s#10396)",
    4: "memory neither leaks nor grows (iotedge#6932, #6983, supervisor#2431, k8s-dqlite#196)",
    5: "it starts with a clock of 1970 (k3os#554, #381, #657, elemental#567, talos#3122)",
    6: "the clock may be set at any time (kubernetes#58853, #54130, iotedge#6933)",
    7: "certificates do not die in a drawer (k3s#770, #10865, #1621, iotedge#7321)",
    8: "it starts without a network (k3s#5048, #1103, #2135, #3491)",
    9: "its address may change (k3s#2360, #2827, #1977, #5880)",
    10: "what ran before an offline reboot runs after it, and nothing starts anew when the link is "
    "back (kubeedge#4738, #3618, #3941, iotedge#771, nomad#24629)",
    11: "layers torn by a cut of power are mended (containerd#8895, #9497, moby#49784)",
    12: "a containerd whose database is damaged is helped up (containerd#4838, #9929)",
    13: "a torn store is never an empty one (etcd#16596, #12487, iotedge#2959, nucleus#1168)",
    14: "images that are needed are not collected (k3s#1552, #7569, #10209, kubernetes#81756)",
    15: "a pull goes on where it stopped (moby#26146, #48539, podman#7497, containerd#3974)",
    16: "a full disk is not the end (balena-supervisor#674, meta-balena#2130)",
    17: "logs do not eat the card (moby#27957, #40207, for-linux#985, Anthias#2304)",
    18: "what is unhealthy is restarted (moby#28400, #42693, compose#4826)",
    19: "what is not ready gets no requests (podman#12417, ankaios#109)",
    20: "a restart of the orchestrator forgets nothing (ankaios#721)",
    21: "it updates itself only when asked, and undoes that (microk8s#1022, #2491, #2891)",
    22: "a stuck update does not block the next one (nucleus#1203, balena-supervisor#1633)",
    23: "an application can say: not now (KubeEdge's hold-upgrade, balena's locks)",
    24: "logs and exec through NAT (KubeEdge's docs/advanced/debug)",
    25: "devices without privileges (kubernetes#5607, #60748, #7890)",
    26: "a device that was unplugged comes back to its container (moby#46608, #35359)",
    27: "a memory cgroup that is off is told and switched on (k3s#2067, #8890, #10755, #3283)",
    28: "an uninstallation keeps users' data (k3s#3264, rke2#8296)",
    29: "the watchdog spares a slow device (meta-balena#1855, balena-supervisor#1575)",
    30: "it lives on a board of 512 MB (k3s#2822, operating-system#3727, microk8s#319)",
}

NOT_OURS = {
    24: "a tunnel has another end, and there is no server of a fleet in this project; streams pass "
    "through any TCP tunnel that leads to the API's port",
}
"""With the reason."""
