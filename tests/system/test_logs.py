"""kubectl logs in all its forms, and what containers may do to their output."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import lab as labs
from . import manifests

N = ("-n", "logs")
PODS = "/api/v1/namespaces/logs/pods"
VERSIONS = sorted({"1.27", list(labs.kubectls())[-1]} & set(labs.kubectls()))
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"

SPEAK = "echo one; echo two; echo three; sleep 1.1; echo four >&2; " + manifests.IDLE


@pytest.fixture(scope="module", autouse=True)
def space(lab: labs.Lab) -> Iterator[None]:
    """One namespace for this file: pods that all tests read, and some of their own."""
    lab.kubectl("create", "namespace", "logs")
    side = manifests.container("echo beside; " + manifests.IDLE, "side", restartPolicy="Always")
    init = manifests.container("echo first; echo -n unfinished", "init")
    other = manifests.container("echo other; " + manifests.IDLE, "other")
    lab.apply(
        manifests.listed(
            manifests.pod("talks", manifests.container(SPEAK), other, initContainers=[init, side]),
            manifests.deployment("speaks", manifests.container(SPEAK), replicas=2),
            manifests.pod("crashes", manifests.container("echo run $HOSTNAME; exit 1")),
            manifests.pod("absent", {"name": "main", "image": "nowhere.invalid/none:1"}),
        ),
        *N,
    )
    for pod in ("talks", "-l=app=speaks"):
        what = ("pod", pod) if pod.startswith("-") else (f"pod/{pod}",)
        lab.kubectl("wait", *what, "--for=condition=Ready", "--timeout=60s", *N, seconds=70)
    lab.wait("pod/crashes", "jsonpath={.status.containerStatuses[0].restartCount}=1", *N)
    labs.until(lambda: "four" in lab.kubectl("logs", "talks", *N), "all is said")
    each = functools.partial(lab.kubectl, "logs", "-l", "app=speaks", *N)
    labs.until(lambda: each().count("four") == 2, "all is said by both")
    yield
    lab.kubectl("delete", "namespace", "logs", "--timeout=60s", seconds=70)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_shown(lab: labs.Lab, version: str) -> None:
    def logs(*words: str) -> str:
        return lab.kubectl("logs", *words, *N, version=version)

    main = ("talks", "-c", "main")
    said = "one\ntwo\nthree\nfour\n"
    assert logs(*main) == said
    assert logs("talks") == said  # the first of its containers, as kubectl chooses
    assert logs("talks", "-c", "init") == "first\nunfinished"
    assert logs("talks", "-c", "side") == "beside\n"
    assert logs(*main, "--tail=2") == "three\nfour\n"
    assert logs(*main, "--tail=0") == ""
    assert logs(*main, "--limit-bytes=6") == "one\ntw"
    assert logs(*main, "--since=1h") == said
    assert logs(*main, "--since-time=2999-01-01T00:00:00Z") == ""
    stamped = logs(*main, "--timestamps").splitlines()
    found = [re.fullmatch(rf"({STAMP}) (\w+)", line) for line in stamped]
    assert [match and match[2] for match in found] == said.split()
    # What is as old as asked, or younger; kubectl asks in whole seconds.
    assert found[3]
    assert logs(*main, f"--since-time={found[3][1]}") == "four\n"
    every = logs("talks", "--all-containers")  # in an order that is kubectl's
    assert all(part in every for part in ("first\nunfinished", "beside\n", said, "other\n"))
    assert len(every) == len("first\nunfinishedbeside\n" + said + "other\n")
    assert "[pod/talks/other] other" in logs("talks", "--all-containers", "--prefix")
    assert sorted(logs("-l", "app=speaks").split()) == sorted(said.split() * 2)
    assert logs("deployment/speaks").splitlines()[-4:] == said.split()
    refused = lab.try_kubectl(
        "logs", "-f", "-l", "app=speaks", "--max-log-requests=1", *N, version=version
    )
    assert "maximum allowed concurrency is 1" in refused.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_what_cannot_be_shown(lab: labs.Lab, version: str) -> None:
    def refused(*words: str) -> str:
        result = lab.try_kubectl("logs", *words, *N, version=version)
        assert result.returncode
        return result.stderr.strip()

    told = 'Error from server (BadRequest): container "main" in pod "absent" is waiting to start: '
    assert re.fullmatch(
        re.escape(told) + "(image can't be pulled|trying and failing to pull image)",
        refused("absent"),
    )
    assert refused("talks", "-c", "main", "-p") == (
        'Error from server (BadRequest): previous terminated container "main" in pod "talks" '
        "not found"
    )
    assert "container none is not valid for pod talks" in refused("talks", "-c", "none")
    assert 'rror from server (NotFound): pods "nobody" not found' in refused("nobody")
    first = lab.kubectl("logs", "crashes", "-p", *N, version=version)
    assert first == "run crashes\n"


def test_the_api_says_what_is_wrong(lab: labs.Lab) -> None:
    def asked(query: str, pod: str = "talks") -> tuple[int, str]:
        answer = lab.api("GET", f"{PODS}/{pod}/log?{query}")
        shown = answer.json["message"] if answer.status != 200 else answer.body.decode()
        return answer.status, shown

    assert asked("") == (
        400,
        "a container name must be specified for pod talks, choose one of: [init side main other]",
    )
    assert asked("container=main&stream=Stderr") == (200, "four\n")
    assert asked("container=main&stream=Stdout") == (200, "one\ntwo\nthree\n")
    assert asked("container=main&stream=All&tailLines=1") == (200, "four\n")
    status, told = asked("container=main&stream=Stdout&tailLines=1")
    assert status == 422
    assert "`tailLines` and specific `stream` are mutually exclusive for now" in told
    assert asked("container=main&tailLines=-1")[0] == 422
    assert asked("container=main&sinceSeconds=9223372036854775807")[0] == 200
    assert asked("container=main&sinceTime=today")[0] == 400
    assert asked("container=main&insecureSkipTLSVerifyBackend=true&limitBytes=3") == (200, "one")


def test_following_ends_with_the_container_and_spans_rotated_files(lab: labs.Lab) -> None:
    """A quarter of a million lines, three files: every one, in order, while they are written."""
    count = 250_000
    lines = f'BEGIN {{ for (n = 1; n <= {count}; n++) print "line", n, "{"x" * 80}" }}'
    script = f"awk '{lines}'; echo -n end"
    lab.apply(manifests.once("long", script), *N)
    labs.until(lambda: lab.try_kubectl("logs", "long", *N).returncode == 0, "the first line")
    shown = lab.kubectl("logs", "-f", "long", *N).splitlines()
    assert len(shown) == count + 1
    assert [line.split()[1] for line in shown[:-1]] == [str(n) for n in range(1, count + 1)]
    assert shown[-1] == "end"
    uid = lab.get("pod/long", *N)["metadata"]["uid"]
    folder = lab.device.data / "pods" / f"logs_long_{uid}" / "main"
    names = sorted(file.name for file in folder.iterdir())
    assert names[0] == "0.log"
    assert len(names) >= 3
    assert all(re.fullmatch(r"0\.log\.\d{8}-\d{6}(\.gz)?", name) for name in names[1:])
    assert lab.kubectl("logs", "long", "--tail=3", *N).split("\n")[-1] == "end"
    lab.kubectl("delete", "pod", "long", *N)
    labs.until(lambda: not folder.exists(), "its logs are removed")


def test_following_ends_when_the_pod_is_deleted(lab: labs.Lab) -> None:
    lab.apply(manifests.pod("leaves", manifests.container("echo here; " + manifests.IDLE)), *N)
    lab.wait("pod/leaves", "condition=Ready", *N)
    link = _link(lab, "leaves")
    assert link.read_text().endswith(" stdout F here\n")
    with lab.background("logs", "-f", "leaves", *N) as one:
        with lab.background("logs", "-f", "leaves", *N) as two:
            one.until("here")
            two.until("here")
        # One that goes takes no other with it.
        lab.kubectl("delete", "pod", "leaves", *N)
        assert one.wait() == 0
    assert not link.is_symlink()


def _link(lab: labs.Lab, pod: str) -> Path:
    """Where log shippers look for it."""
    status = lab.get(f"pod/{pod}", *N)["status"]["containerStatuses"][0]
    container_id = status["containerID"].removeprefix("containerd://")
    return lab.device.data / "containers" / f"{pod}_logs_main-{container_id}.log"


def test_whatever_is_said_is_kept(lab: labs.Lab) -> None:
    """Terminals, stdin, bytes that are no text, long lines, no newline at the end."""
    binary = r"printf '\000\377\376 \r\n\n\001'; sleep 0.1; printf 'end'"
    long = "head -c 100000 /dev/zero | tr '\\0' x; echo; head -c 40000 /dev/zero | tr '\\0' y"
    terminal = manifests.container("echo in a terminal; stty size; " + manifests.IDLE, tty=True)
    reading = manifests.container("echo asks; read answer; echo got $answer", stdin=True)
    reading["stdinOnce"] = True
    lab.apply(
        manifests.listed(
            manifests.once("binary", binary),
            manifests.once("wide", long),
            manifests.pod("terminal", terminal),
            manifests.pod("reading", reading, restartPolicy="Never"),
        ),
        *N,
    )
    for pod in ("binary", "wide"):
        lab.wait(f"pod/{pod}", "jsonpath={.status.phase}=Succeeded", *N)
    assert lab.api("GET", f"{PODS}/binary/log").body == b"\0\xff\xfe \r\n\n\1end"
    assert lab.kubectl("logs", "wide", *N) == "x" * 100_000 + "\n" + "y" * 40_000
    raw = _link(lab, "wide").read_bytes().splitlines()
    assert [re.sub(rb"^\S+ stdout ", b"", line)[:3] for line in raw] == [
        *[b"P x"] * 6, b"F x", *[b"P y"] * 3
    ]  # fmt: skip
    assert max(len(line.split(b" ", 3)[3]) for line in raw) == 16384
    labs.until(
        lambda: lab.api("GET", f"{PODS}/terminal/log").body.startswith(b"in a terminal\r\n"),
        "the terminal's words",
    )
    lab.wait("pod/reading", "condition=Ready", *N)
    lab.kubectl("attach", "-i", "reading", *N, stdin="answer\n")
    lab.wait("pod/reading", "jsonpath={.status.phase}=Succeeded", *N)
    assert lab.kubectl("logs", "reading", *N) == "asks\ngot answer\n"
    lab.kubectl("delete", "pod", "binary", "wide", "terminal", "reading", *N)


def test_short_lives_leave_every_line(lab: labs.Lab) -> None:
    """Containers that say something and are gone in the same moment: 20, or 200 in full."""
    lines = 500
    script = f"seq 1 {lines}; echo -n $((6 * 7)) >&2"
    expected = sorted([*(str(n) for n in range(1, lines + 1)), "42"])
    for number in range(labs.rounds(1, 10)):
        containers = [manifests.container(script, f"c{index}") for index in range(20)]
        pod = f"short-{number}"
        lab.apply(manifests.pod(pod, *containers, restartPolicy="Never"), *N)
        lab.wait(f"pod/{pod}", "jsonpath={.status.phase}=Succeeded", *N)
        for container in containers:
            body = lab.api("GET", f"{PODS}/{pod}/log?container={container['name']}").body
            said = re.findall(r"\d+", body.decode())
            assert sorted(said) == expected
        lab.kubectl("delete", "pod", pod, *N)


def test_one_that_talks_without_end_holds_up_nobody(lab: labs.Lab) -> None:
    lab.apply(
        manifests.listed(
            manifests.pod("chatty", manifests.container("exec yes")),
            manifests.pod("calm", manifests.container("while :; do echo tick; sleep 0.1; done")),
        ),
        *N,
    )
    lab.wait("pod/chatty", "condition=Ready", *N)
    lab.wait("pod/calm", "condition=Ready", *N)
    with lab.background("logs", "-f", "calm", "--tail=1", *N) as calm:
        seen = len(calm.lines)
        for _ in range(20):
            assert lab.api("GET", f"{PODS}/calm").status == 200
        labs.until(lambda: len(calm.lines) > seen + 10, "the calm one is heard")
    uid = lab.get("pod/chatty", *N)["metadata"]["uid"]
    folder = lab.device.data / "pods" / f"logs_chatty_{uid}" / "main"
    assert len(list(folder.iterdir())) <= 7  # five, one being made, one being compressed
    lab.kubectl("delete", "pod", "chatty", "calm", *N)
