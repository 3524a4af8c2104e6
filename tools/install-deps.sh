#!/bin/sh
# install-deps.sh build|demo|test: installs the packages that target needs and that
# are missing, saying what and why. Asks for nothing (no root, no network) when
# all of them are there. SKIP_DEPS=1 skips it.
set -eu
cd "$(dirname "$0")/.."

[ "${SKIP_DEPS:-0}" = 1 ] && exit 0

case "${1:-}" in
build) groups="build" ;;
demo) groups="build demo" ;;
test) groups="build demo test" ;;
*) echo "usage: tools/install-deps.sh build|demo|test" >&2; exit 64 ;;
esac

installed() { # PACKAGE
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing_of() { # PACKAGES...: those that are not installed
    for package; do
        installed "$package" || printf ' %s' "$package"
    done
}

if ! command -v dpkg-query > /dev/null; then
    echo "This is no Debian: install what tools/packages lists, then use SKIP_DEPS=1." >&2
    exit 69
fi

list=$(mktemp)
trap 'rm -f "$list"' EXIT
for group in $groups; do
    grep "^$group:" tools/packages || true
done > "$list"

wanted=
while IFS=: read -r _ why packages; do
    missing=$(missing_of $packages)
    [ -z "$missing" ] && continue
    [ -z "$wanted" ] && echo "Installing with apt (SKIP_DEPS=1 skips this):"
    echo "  $missing:$why" | sed 's/^   */  /'
    wanted="$wanted$missing"
done < "$list"
[ -z "$wanted" ] && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    if ! command -v sudo > /dev/null; then
        echo "There is no sudo here. As root: apt-get install$wanted" >&2
        exit 69
    fi
fi
apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q"
$apt update < /dev/null
$apt install -y --no-install-recommends $wanted < /dev/null
