#!/usr/bin/env bash
# package.sh: builds the .debs and the tarball of build/release, unpacks all of it as
# well as an ordinary installation, and runs what is in them.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD/build/package
rm -rf "$root"
mkdir -p "$root"/{deb,tar,control}
rm -f build/release/underscore*.deb build/release/underscore*.tar.gz
(cd build/release && cpack --config CPackConfig.cmake)
tarball=$(echo build/release/underscore-*.tar.gz)
packages=(underscore underscored underscore-worker underscore-stage)

wrong() { echo "package: $*" >&2; exit 1; }

deb_of() { echo build/release/"$1"_*.deb; }

for package in "${packages[@]}"; do
    dpkg-deb -x "$(deb_of "$package")" "$root/deb"
    dpkg-deb -e "$(deb_of "$package")" "$root/control/$package"
done
tar -xzf "$tarball" --strip-components=1 -C "$root/tar"
cmake --install build/release --prefix "$root/install" > /dev/null

# What each needs, and what is none of its business.
needs() { # PACKAGE LIBRARIES...
    local package=$1 depends library
    shift
    depends=$(dpkg-deb -f "$(deb_of "$package")" Depends)
    for library; do
        case $library in
        -*) [[ $depends != *${library#-}* ]] || wrong "$package depends on ${library#-}: $depends" ;;
        *) [[ $depends == *$library* ]] || wrong "$package does not depend on $library: $depends" ;;
        esac
    done
}
needs underscore libc6 libvulkan1 libavformat libavcodec libavfilter libswresample libebur128-1 libjansson4 \
    libyaml-0-2 libzmq5 libmsgpackc2 libsqlite3-0 -libcmocka -systemd
needs underscored libc6 libzmq5 libmsgpackc2 libsqlite3-0 libmicrohttpd12 libconfig9 libavformat systemd -libvulkan -libcmocka -libopenmpi
needs underscore-worker libc6 libzmq5 libmsgpackc2 libconfig9 libvulkan1 systemd libnettle8 -libav -libsqlite3 -libcmocka -libopenmpi
needs underscore-stage libopenmpi3 openmpi-bin libnettle8 -libav -libzmq -libvulkan -libconfig -libcmocka

# A file belongs to one package, and each has its own.
lists() { dpkg-deb --fsys-tarfile "$(deb_of "$1")" | tar -t | sed 's/^\.//' | grep -v '/$' | sort; }
[ -z "$(for package in "${packages[@]}"; do lists "$package"; done | sort | uniq -d)" ] ||
    wrong "a file is in two packages"
has() { # PACKAGE FILES...
    local package=$1 file
    shift
    for file; do
        lists "$package" | grep -qxF "$file" || wrong "$package has no $file"
    done
}
has underscore /usr/bin/underscore /usr/bin/underscore-film /usr/bin/underscore-bench
has underscored /usr/bin/underscored /etc/underscore/underscored.conf /usr/lib/systemd/system/underscored.service \
    /usr/lib/sysusers.d/underscored.conf /usr/lib/tmpfiles.d/underscored.conf
has underscore-worker /usr/bin/underscore-worker /etc/underscore/worker.conf \
    /usr/lib/systemd/system/underscore-worker@.service /usr/lib/sysusers.d/underscore-worker.conf \
    /usr/lib/tmpfiles.d/underscore-worker.conf
has underscore-stage /usr/bin/underscore-stage
for package in underscored underscore-worker; do
    # dpkg asks before it replaces a file that somebody has changed.
    conffile=$(cat "$root/control/$package/conffiles")
    has "$package" "$conffile"
    for script in postinst prerm postrm; do
        sh -n "$root/control/$package/$script" || wrong "$package: $script"
        [ -x "$root/control/$package/$script" ] || wrong "$package: $script cannot be run"
    done
done

for prefix in "$root/deb/usr" "$root/tar" "$root/install"; do
    etc=$prefix/etc/underscore
    [ "$prefix" = "$root/deb/usr" ] && etc=$root/deb/etc/underscore
    for file in bin/underscore bin/underscore-film bin/underscore-bench bin/underscored bin/underscore-worker bin/underscore-stage share/man/man1/underscore{,-stage}.1 \
        share/man/man8/underscored.8 share/man/man8/underscore-worker.8 \
        share/bash-completion/completions/underscore share/doc/{underscore,underscored,underscore-worker,underscore-stage}/copyright; do
        [ -s "$prefix/$file" ] || [ -s "$prefix/$file.gz" ] || wrong "$prefix/$file is missing or empty"
    done
    "$prefix/bin/underscore" --version
    "$prefix/bin/underscore" devices > /dev/null
    "$prefix/bin/underscore" init-model --preset tiny -o "$root/model.safetensors"
    "$prefix/bin/underscore" inspect "$root/model.safetensors" > /dev/null
    "$prefix/bin/underscore-stage" --version
    "$prefix/bin/underscored" --config "$etc/underscored.conf" --media / --check-config > /dev/null
    "$prefix/bin/underscore-worker" --config "$etc/worker.conf" --model "$root/model.safetensors" --check-config > /dev/null
    # The built-in model goes along and is found.
    [ ! -s models/demo.safetensors ] ||
        (unset UNDERSCORE_MODEL && "$prefix/bin/underscore" inspect | grep -q "^$(realpath "$prefix")/share/") ||
        wrong "$prefix: the built-in model is not found"
done

# tests/e2e/service_e2e.py verifies the units; here is what they start.
for unit in underscored.service underscore-worker@.service; do
    program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$root/deb/usr/lib/systemd/system/$unit")
    [ -x "$root/deb$program" ] || wrong "$unit starts $program, which is in no package"
done

for page in man1/underscore.1 man1/underscore-stage.1 man8/underscored.8 man8/underscore-worker.8; do
    complaints=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z \
        "$root/install/share/man/$page" 2>&1 > /dev/null)
    [ -z "$complaints" ] || wrong "the manual page: $complaints"
done

# What bash would offer.
bash -c "PATH=$root/deb/usr/bin:\$PATH; . $root/deb/usr/share/bash-completion/completions/underscore
    COMP_WORDS=(underscore sco) COMP_CWORD=1; _underscore; [ \"\${COMPREPLY[*]}\" = score ] || exit 1
    COMP_WORDS=(underscore score --resu) COMP_CWORD=2; _underscore; [ \"\${COMPREPLY[*]}\" = --resume ]" ||
    wrong "completion offers something else"
for package in "${packages[@]}"; do
    deb_of "$package"
done
echo "$tarball"
