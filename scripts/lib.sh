# Sourced by the scripts of this folder: where things are, and how a missing one is installed.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
cd "$root"

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Debian packages, where this may install them; else a word about what is missing.
install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "something is missing that only root can install, with apt-get; please install (as Debian names it): $*"
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$@"; } >&2 ||
        fail "apt-get could not install: $*"
}

# The compiler of rust-toolchain.toml, and a C compiler for SQLite, ring, zstd and mimalloc.
need_rust() {
    command -v cargo >/dev/null ||
        fail "cargo is missing: install Rust with rustup (https://rustup.rs), which then fetches the toolchain of rust-toolchain.toml"
    command -v cc >/dev/null || install_packages gcc libc6-dev
}

# Builds these packages as they are released: with the profile that scripts/pgo recorded (docs/adr/0006-recorded-profile.md).
build_release() {
    local recorded=$root/pgo/tollgate.profdata used
    need_rust
    # Cargo does not look into the file: under a name of its content, another profile is another build.
    used=$target/pgo/$(cksum <"$recorded" | cut -d' ' -f1).profdata
    mkdir -p "$target/pgo"
    [ -f "$used" ] || { cp "$recorded" "$used.new" && mv "$used.new" "$used"; }
    CARGO_ENCODED_RUSTFLAGS=$(rust_flags)-Cprofile-use=$used cargo build --release --locked "$@"
}

# Whoever builds may have flags of their own; what is added to them may hold blanks.
rust_flags() {
    local flag
    for flag in ${RUSTFLAGS-}; do printf '%s\x1f' "$flag"; done
}

# A cargo tool of this version, built into .tools unless the machine has it.
need_cargo_tool() {
    need_rust
    export PATH=$root/.tools/bin:$PATH
    command -v "$1" >/dev/null || cargo install --locked --debug --root "$root/.tools" --version "$2" "$1"
}

need_nextest() { need_cargo_tool cargo-nextest 0.9.143; }
need_deny() { need_cargo_tool cargo-deny 0.20.2; }

# The server's programs, 15 or later: the tests start a cluster of their own with them.
need_postgres() {
    local place
    for place in "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/{9,8,7,6,5,4,3,2,1}?/bin "$(dirname "$(command -v postgres)")"; do
        if [ -x "$place/initdb" ] && [ "$("$place/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')" -ge 15 ]; then
            return
        fi
    done
    install_packages postgresql
}

# Real proxies, as programs only: no service is started.
need_proxies() {
    command -v tinyproxy >/dev/null || install_packages tinyproxy-bin
    command -v microsocks >/dev/null || install_packages microsocks
}

# A client of HTTP/2 over TLS that is not ours.
need_curl() {
    command -v curl >/dev/null || install_packages curl
    [[ $(curl --version) == *HTTP2* ]] || fail "$(command -v curl) does not speak HTTP/2: please install one that does"
}

# Python runs the real clients' harness; Node.js 20 or later is what the JavaScript SDKs ask for.
need_clients() {
    need_rust
    command -v python3 >/dev/null || install_packages python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
    { command -v node && command -v npm; } >/dev/null || install_packages nodejs npm
    node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' ||
        fail "Node.js $(node --version) is too old for the SDKs under test: please install 20 or later"
}
