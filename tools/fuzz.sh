#!/usr/bin/env bash
# fuzz.sh build              builds the fuzzers (tests/fuzz) with clang, ASan and UBSan
# fuzz.sh SECONDS [NAME...]  builds them and runs each, or those named, so long; what they
#                            find stays in build/fuzz/tests/fuzz/found/NAME
set -euo pipefail
cd "$(dirname "$0")/.."

names=("${@:2}")
names=("${names[@]/%/_fuzz}")
if [ $# -lt 2 ]; then
    for source in tests/fuzz/*_fuzz.c; do
        names+=("$(basename "$source" .c)")
    done
fi
mkdir -p build/fuzz
cmake --preset fuzz > build/fuzz/configure.log 2>&1 || { cat build/fuzz/configure.log; exit 1; }
cmake --build build/fuzz --target "${names[@]}" -- --quiet
[ "$1" = build ] && exit 0

export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0 UBSAN_OPTIONS=print_stacktrace=1
status=0
for name in "${names[@]}"; do
    subject=${name%_fuzz}
    found=$PWD/build/fuzz/tests/fuzz/found/$subject
    corpus=$PWD/tests/fuzz/corpus/$subject
    words=()
    [ -f "$corpus.dict" ] && words=("-dict=$corpus.dict")
    mkdir -p "$found"
    echo "== $subject, $1 s; what it finds goes to $found"
    # libFuzzer keeps its workers' logs where it is started.
    (cd build/fuzz && "tests/fuzz/$name" "${words[@]}" -max_total_time="$1" -jobs="$(nproc)" -workers="$(nproc)" \
        -close_fd_mask=2 -artifact_prefix="$found/" "$found" "$corpus") && echo "== $subject: nothing was found" || status=1
done
exit $status
