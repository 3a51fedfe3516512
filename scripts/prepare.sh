# Sourced by scripts/run and scripts/test: finds what the build needs and installs what is missing.
#
# With apt, as root or by `sudo -n`. Where neither is possible it says in one line what is missing and stops: nothing
# is skipped in silence. Expects the working directory to be the top of the work tree.

say() { printf '%s\n' "$*" >&2; }

# The means of installing a package, or nothing.
installer() {
  command -v apt-get >/dev/null 2>&1 || return 0
  if [ "$(id -u)" = 0 ]; then echo "env"
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then echo "sudo -n env"
  fi
}

# install PACKAGE...: quietly if it works, with apt's own words if it does not.
install() {
  local as log
  as=$(installer)
  [ -n "$as" ] || return 1
  say "Installing $* ..."
  log=$(mktemp)
  # One source of many may be out of reach and still the package at hand: only the installation's word counts.
  # shellcheck disable=SC2086
  [ -n "${apt_fresh:-}" ] ||
    $as DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 update >"$log" 2>&1 || true
  # shellcheck disable=SC2086  # $as is a command and its arguments
  if $as DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 --no-install-recommends \
    install "$@" >>"$log" 2>&1; then
    apt_fresh=1
    rm -f "$log"
  else
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
}

# need WHAT TEST PACKAGE...: what it is for people, a command that succeeds once it is there, what brings it.
need() {
  local what=$1 test=$2
  shift 2
  eval "$test" >/dev/null 2>&1 && return 0
  install "$@" && eval "$test" >/dev/null 2>&1 && return 0
  say "Missing: $what. Install it (Debian, Ubuntu: apt-get install $*) and start again."
  exit 1
}

# A Rust toolchain is expected; a rustup one may only not be on the path.
need_rust() {
  if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    export PATH
  fi
  command -v cargo >/dev/null 2>&1 || { say "Missing: a Rust toolchain, 1.88 or newer (https://rustup.rs)."; exit 1; }
  local version
  version=$(cargo --version | sed -E 's/^cargo 1\.([0-9]+).*/\1/')
  [ "$version" -ge 88 ] 2>/dev/null || { say "Needed: Rust 1.88 or newer; found $(cargo --version)."; exit 1; }
}

need_cxx() { need "a C++ compiler" "command -v c++" g++; }
need_c() { need "a C compiler" "command -v cc && echo 'int main(void){return 0;}' | cc -x c -o /dev/null -" gcc libc6-dev; }
