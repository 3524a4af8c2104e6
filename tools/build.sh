#!/bin/sh
# build.sh PRESET [-DNAME=VALUE...]: configures and builds into build/PRESET.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
mkdir -p "build/$preset"
if ! cmake --preset "$preset" "$@" > "build/$preset/configure.log" 2>&1; then
    cat "build/$preset/configure.log" >&2
    exit 1
fi
cmake --build "build/$preset" -- --quiet
