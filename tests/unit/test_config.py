"""The configuration file: defaults, and errors that name the key and the fix."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch import config


@pytest.mark.parametrize("text", ["", "---\n", "# only a comment\n", "{}"])
def test_an_empty_file_gives_the_defaults(text: str) -> None:
    assert config.parse(text) == config.Config()


def test_values_are_taken_and_the_rest_keeps_its_default() -> None:
    found = config.parse("node: {name: pi}\nnetwork:\n  node_ports: 31000-31010\n")
    assert found.node_name == "pi"
    assert found.network.node_port_range == (31000, 31010)
    assert found.network.bridge == "edgeorch0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "api: {prt: 1}", 'unknown key "api.prt" (did you mean "api.port"?)', id="slip"
        ),
        pytest.param("colour: red", 'unknown key "colour"', id="unknown"),
        pytest.param("api: {port: x}", "api.port: expected `int`, got `str`", id="type"),
        pytest.param("api: {port: 70000}", "api.port: 70000 is not a port", id="port"),
        pytest.param("api: {port: 10248}", "health.port: 10248 is api.port too", id="one port"),
        pytest.param("api: {address: here}", "api.address: 'here'", id="address"),
        pytest.param("health: {address: 0.0.0.300}", "health.address:", id="health address"),
        pytest.param('node: {labels: {"a b": c}}', "node.labels:", id="label key"),
        pytest.param("node: {labels: {a: b c}}", "node.labels:", id="label value"),
        pytest.param(
            "node: {reserved: {gpu: 1}}",
            'node.reserved: "gpu" cannot be reserved: use cpu, memory, ephemeral-storage',
            id="reserved resource",
        ),
        pytest.param(
            "node: {reserved: {memory: lots}}",
            'node.reserved: "memory: lots" is no amount: use one like 100m, 128Mi or 10%',
            id="reserved amount",
        ),
        pytest.param(
            "devices: {gps: {path: /dev/gps}}",
            'unknown key "devices.gps.path" (did you mean "devices.gps.paths"?)',
            id="device slip",
        ),
        pytest.param(
            "devices: {gps: {count: 2}}",
            "devices.gps: says of no device: use one of paths, group and usb",
            id="no device",
        ),
        pytest.param(
            "devices: {gps: {paths: [/dev/a], usb: '0403:6001'}}",
            "devices.gps: has paths and usb: use one of paths, group and usb",
            id="two devices",
        ),
        pytest.param(
            "devices: {gps: {paths: [ttyUSB0]}}",
            'devices.gps.paths: "ttyUSB0": use an absolute path like /dev/ttyUSB0',
            id="device path",
        ),
        pytest.param("devices: {gps: {usb: '403'}}", 'devices.gps.usb: "403"', id="usb"),
        pytest.param(
            "devices: {gps: {paths: [/dev/a], permissions: x}}",
            'devices.gps.permissions: "x": use some of rwm',
            id="permissions",
        ),
        pytest.param(
            "devices: {gps: {paths: [/dev/a], count: 0}}", "devices.gps.count: 0", id="shares"
        ),
        pytest.param("devices: {g/s: {paths: [/dev/a]}}", 'devices: "g/s" is not', id="name"),
        pytest.param(
            "devices: {gps: {paths: [/dev/a], container_path: gps}}",
            "devices.gps.container_path: must be an absolute path",
            id="container path",
        ),
        pytest.param("containerd: {address: c.sock}", "containerd.address: must be", id="sock"),
        pytest.param("containerd: {namespace: a/b}", 'containerd.namespace: "a/b" is', id="space"),
        pytest.param("containerd: {snapshotter: ''}", 'containerd.snapshotter: "" is', id="snaps"),
        pytest.param("api: {kubeconfig: k.yaml}", "api.kubeconfig: must be an absolute", id="kube"),
        pytest.param("api: {socket: api.sock}", "api.socket: must be an absolute", id="socket"),
        pytest.param("pods: {pids_limit: 0}", "pods.pids_limit: use 16 or more, or -1", id="pids"),
        pytest.param("pods: {crash_loop_ceiling: .nan}", "pods.crash_loop_ceiling", id="nan"),
        pytest.param("pods: {log_max_bytes: -1}", "pods.log_max_bytes", id="log bytes"),
        pytest.param("pods: {log_max_files: 0}", "pods.log_max_files", id="log files"),
        pytest.param("network: {pod_cidr: 10.0.0.0/99}", "network.pod_cidr:", id="cidr"),
        pytest.param("network: {pod_cidr: 10.0.0.0/30}", "prefix length", id="cidr-too-small"),
        pytest.param(
            "network: {service_cidr: 10.42.0.0/16}", "overlaps network.pod_cidr", id="overlap"
        ),
        pytest.param("network: {node_ports: 9-1}", "network.node_ports:", id="range-backwards"),
        pytest.param("network: {bridge: 'a b'}", "network.bridge:", id="bridge"),
        pytest.param("network: {node_address: x}", "network.node_address:", id="address"),
        pytest.param("node: {name: Pi!}", "node.name:", id="node-name"),
        pytest.param("data_dir: state", "data_dir: must be an absolute path", id="relative"),
        pytest.param("log_level: loud", "log_level:", id="level"),
        pytest.param(
            "registries: {docker.io: {mirorrs: [a]}}",
            'unknown key "registries.docker.io.mirorrs" (did you mean '
            '"registries.docker.io.mirrors"?)',
            id="registry slip",
        ),
        pytest.param(
            "registries: {a: 3}", "registries.a: expected `object`, got `int`", id="registry"
        ),
        pytest.param(
            "registries: {'https://a': {}}", "registries.https://a: name a reg", id="registry url"
        ),
        pytest.param(
            "registries: {a: {mirrors: ['ftp://a']}}", "registries.a.mirrors:", id="mirror"
        ),
        pytest.param("registries: {a: {ca: c.pem}}", "registries.a.ca:", id="relative ca"),
        pytest.param("registries: {a: {username: u}}", "registries.a.password:", id="no password"),
        pytest.param("registries: {'*': {ca: /c}}", "registries.*: only mirrors", id="all"),
        pytest.param(
            "images: {gc_low_percent: 90}", "images.gc_low_percent: 90 must be below", id="gc"
        ),
        pytest.param("images: {gc_min_age: .nan}", "images.gc_min_age:", id="gc age"),
        pytest.param("images: {max_bytes_per_second: 10}", "images.max_bytes_per", id="rate"),
        pytest.param("images: {parallel_pulls: 0}", "images.parallel_pulls: use 1", id="pulls"),
        pytest.param("images: {stall_timeout: 0}", "images.stall_timeout:", id="stall"),
        pytest.param("images: {preload_dir: x}", "images.preload_dir: must be", id="preload"),
        pytest.param("memory: {soft_limit: -1}", "memory.soft_limit: use 0", id="memory"),
        pytest.param("flash: {daily_budget: -1}", "flash.daily_budget: use 0", id="flash"),
        pytest.param("store: {reserve_bytes: -1}", "store.reserve_bytes: use 0", id="reserve"),
        pytest.param(
            "eviction: {hard: {memory: 1Gi}}", 'eviction.hard: "memory" is not known', id="signal"
        ),
        pytest.param(
            "eviction: {minimum_reclaim: {memory.available: lots}}",
            'eviction.minimum_reclaim: "memory.available: lots" is no amount',
            id="threshold",
        ),
        pytest.param(
            "eviction: {soft: {pid.available: 5%}}",
            'eviction.soft_grace_period: "pid.available" is soft: say how long',
            id="no grace",
        ),
        pytest.param("eviction: {interval: 0}", "eviction.interval: use 0.1 to", id="interval"),
        pytest.param(
            "eviction: {max_pod_grace_period: .nan}",
            "eviction.max_pod_grace_period: use 0 seconds or more",
            id="long",
        ),
        pytest.param(
            "eviction: {soft: {pid.available: 5%}, soft_grace_period: {pid.available: -1}}",
            "eviction.soft_grace_period.pid.available: use 0 seconds or more",
            id="grace",
        ),
        pytest.param("cgroup_root: /../etc", "cgroup_root: must not lead out", id="cgroup root"),
        pytest.param("store: {reserve_bytes: 2000000000}", "use 0 to 1073741824", id="reserve"),
        pytest.param("updates: {hold_file: hold}", "updates.hold_file: must be", id="hold file"),
        pytest.param('data_dir: "/a\\nb"', "data_dir: '/a\\nb' has characters", id="line feed"),
        pytest.param("updates: {trusted_keys: [k]}", 'updates.trusted_keys: "k"', id="key file"),
        pytest.param("updates: {health_url: a.example}", "updates.health_url:", id="health url"),
        pytest.param("containerd: {patience: .nan}", "containerd.patience: use 0", id="patience"),
        pytest.param("dns: {}\nnode: {}\ndns: {}", '"dns" is there twice', id="section twice"),
        pytest.param("api: {port: 1, port: 2}", '"api.port" is there twice', id="key twice"),
        pytest.param("node: " + "[" * 5000, "nested too deep", id="deep"),
        pytest.param("- a", "must hold keys and values", id="list"),
        pytest.param("a: [", "not valid YAML", id="yaml"),
        pytest.param("node: 3", "node: expected `object`", id="section"),
    ],
)
def test_an_error_names_the_key(text: str, told: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text)
    assert told in str(caught.value)


def test_a_named_file_must_exist(tmp_path: pathlib.Path) -> None:
    with pytest.raises(config.ConfigError, match="no such file"):
        config.load(tmp_path / "absent.yaml")


def test_an_error_names_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("foo: 1")
    with pytest.raises(config.ConfigError, match=r"config\.yaml: unknown key"):
        config.load(path)


def test_a_host_name_that_is_no_node_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "my_pi")
    with pytest.raises(config.ConfigError, match=r'node\.name: "my_pi"'):
        config.parse("")


def test_labels_of_the_node_may_have_a_prefix_and_no_value() -> None:
    found = config.parse('node: {labels: {example.org/site: "", zone: Attic_1}}')
    assert found.node.labels == {"example.org/site": "", "zone": "Attic_1"}


def test_what_is_reserved_is_as_usual_where_nothing_is_said() -> None:
    assert config.parse("").node.reservations == {
        "cpu": "100m", "memory": "128Mi", "ephemeral-storage": "10%"
    }  # fmt: skip
    found = config.parse("node: {reserved: {cpu: 1, ephemeral_storage: 1.5Gi}}").node.reservations
    assert found == {"cpu": "1", "memory": "128Mi", "ephemeral-storage": "1.5Gi"}


def test_thresholds_are_as_usual_where_nothing_is_said() -> None:
    usual = config.parse("").eviction.hard_amounts
    assert usual["memory.available"] == "100Mi"
    found = config.parse("eviction: {hard: {memory.available: 0, pid.available: 5%}}").eviction
    assert found.hard_amounts == {**usual, "memory.available": "0", "pid.available": "5%"}
