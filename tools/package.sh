#!/usr/bin/env bash
# package.sh: builds the .deb and the tarball of build/release, unpacks both as
# well as an ordinary installation, and runs what is in them.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD/build/package
rm -rf "$root"
mkdir -p "$root"/{deb,tar}
rm -f build/release/underscore*.deb build/release/underscore*.tar.gz
(cd build/release && cpack --config CPackConfig.cmake)
deb=$(echo build/release/underscore_*.deb)
tarball=$(echo build/release/underscore-*.tar.gz)

dpkg-deb -x "$deb" "$root/deb"
tar -xzf "$tarball" --strip-components=1 -C "$root/tar"
cmake --install build/release --prefix "$root/install" > /dev/null

wrong() { echo "package: $*" >&2; exit 1; }

depends=$(dpkg-deb -f "$deb" Depends)
for library in libc6 libvulkan1 libavformat libavcodec libavfilter libswresample \
    libebur128-1 libjansson4 libyaml-0-2 libzmq5 libmsgpackc2 libsqlite3-0 libmicrohttpd12; do
    [[ $depends == *$library* ]] || wrong "the .deb does not depend on $library: $depends"
done
[[ $depends == *libcmocka* ]] && wrong "the .deb depends on a test library: $depends"

for prefix in "$root/deb/usr" "$root/tar" "$root/install"; do
    for file in bin/underscore bin/underscore-bench bin/underscored bin/underscore-worker share/man/man1/underscore.1 \
        share/bash-completion/completions/underscore share/doc/underscore/{README.md,LICENSE,copyright}; do
        [ -s "$prefix/$file" ] || wrong "$prefix/$file is missing or empty"
    done
    "$prefix/bin/underscore" --version
    "$prefix/bin/underscore" devices > /dev/null
    "$prefix/bin/underscore" init-model --preset tiny -o "$root/model.safetensors"
    "$prefix/bin/underscore" inspect "$root/model.safetensors" > /dev/null
    # The built-in model goes along and is found.
    [ ! -s models/demo.safetensors ] ||
        (unset UNDERSCORE_MODEL && "$prefix/bin/underscore" inspect | grep -q "^$(realpath "$prefix")/share/") ||
        wrong "$prefix: the built-in model is not found"
done

page=$root/deb/usr/share/man/man1/underscore.1
complaints=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 > /dev/null)
[ -z "$complaints" ] || wrong "the manual page: $complaints"

# What bash would offer.
bash -c "PATH=$root/deb/usr/bin:\$PATH; . $root/deb/usr/share/bash-completion/completions/underscore
    COMP_WORDS=(underscore sco) COMP_CWORD=1; _underscore; [ \"\${COMPREPLY[*]}\" = score ] || exit 1
    COMP_WORDS=(underscore score --resu) COMP_CWORD=2; _underscore; [ \"\${COMPREPLY[*]}\" = --resume ]" ||
    wrong "completion offers something else"
echo "$deb"
echo "$tarball"
