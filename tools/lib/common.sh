# Shared by tools/dev and tools/quickstart. Sets ROOT, the folder of this checkout, and changes to it.
# Sourced, never run.

ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
cd "$ROOT" || exit 1
export HOME=${HOME:-/root}

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Without a terminal (a log file, CI) colours are noise.
if [ ! -t 1 ]; then
  say() { printf '==> %s\n' "$*"; }
fi

case $ROOT in
  *[[:space:]]*) die "this checkout is in \"$ROOT\"; Bazel can't build in a path that contains spaces, please move it" ;;
esac

wanted_packages() { sed 's/#.*//' "$ROOT/tools/lib/packages.txt" | awk 'NF { print $1 }'; }

missing_packages() {
  local package
  for package in $(wanted_packages); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

cmd_setup() {
  command -v dpkg-query >/dev/null || die "setup knows Debian's packages only; tools/lib/packages.txt lists what is needed"
  local missing
  missing=$(missing_packages | xargs)
  if [ -z "$missing" ]; then
    say "setup: all $(wanted_packages | wc -l) packages are installed already"
    return 0
  fi
  [ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: $missing
  As root: apt-get update && apt-get install $missing"
  say "setup: installing $missing"
  export DEBIAN_FRONTEND=noninteractive
  local apt=(apt-get -q -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update || die "apt-get update failed: is Debian's registry reachable from here?"
  # shellcheck disable=SC2086  # a list of words
  "${apt[@]}" install -y --no-install-recommends $missing || die "apt-get install failed (see above)"
}

# Node and the npm packages of client/typescript. Nothing else needs them: without, its tests are skipped.
setup_node() {
  local missing=()
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ]; then
    say "setup: installing ${missing[*]}, for the TypeScript client"
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" ||
      note "they could not be installed"
  fi
  tools/lib/node_modules >/dev/null || note "the tests of the TypeScript client will be skipped"
}

bazel_run() {
  command -v bazel >/dev/null || die "there is no bazel here: run tools/dev setup first"
  bazel "$@"
}

# The programs that make up an installation: label, and where it goes under a prefix. With WITH_INTEGRATIONS set also those for
# container engines.
installed_programs() {
  cat <<'END'
//daemon:sandboxd bin/sandboxd
//client/cli:sandboxctl bin/sandboxctl
//kernel/boot:sandbox-kernel libexec/sandboxd/sandbox-kernel
//gofer/server:sandbox-gofer libexec/sandboxd/sandbox-gofer
END
  [ -z "${WITH_INTEGRATIONS:-}" ] || cat <<'END'
//tools/oci:sandboxd-oci bin/sandboxd-oci
//tools/shim:containerd-shim-sandboxd-v1 bin/containerd-shim-sandboxd-v1
END
}

# install_tree PREFIX [BAZEL_FLAG...]: builds the programs and copies them under PREFIX.
install_tree() {
  local prefix=$1 label target
  shift
  # shellcheck disable=SC2046  # a list of labels
  bazel_run build "$@" $(installed_programs | cut -d' ' -f1) || return 1
  local bin
  bin=$(bazel_run info "$@" bazel-bin 2>/dev/null) || return 1
  while read -r label target; do
    local file=${label#//}
    install -D -m 0755 "$bin/${file/://}" "$prefix/$target" || return 1
  done < <(installed_programs)
}
