#!/usr/bin/env bash
# faults.sh [TEST...]: tests/faults in full, one after the other, and the table of what
# they measured. TEST is the beginning of a name, such as `net`. Takes an hour or two.
# Without one, what comes from strangers is read under AddressSanitizer and UBSan as well.
set -uo pipefail
cd "$(dirname "$0")/.."

tools/build.sh release -DUNDERSCORE_TESTS=ON || exit 1
export FAULTS=full FAULTS_TABLE=$PWD/build/faults.tsv
rm -f "$FAULTS_TABLE"
touch "$FAULTS_TABLE"
# Small disks of a run that was killed.
findmnt -lno TARGET | awk -v under="$PWD/build/" 'index($0, under) == 1' | xargs -r -d '\n' umount -l
suite() { # PRESET NAMES
    ctest --test-dir "build/$1" --no-tests=error --timeout 7200 -L '^tests/faults$' -R "^($2)" --output-on-failure
}
suite release "$(IFS='|'; echo "${*:-}")"
status=$?
if [ $# -eq 0 ]; then
    export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0 UBSAN_OPTIONS=print_stacktrace=1
    tools/build.sh asan -DUNDERSCORE_TESTS=ON && suite asan peer || status=1
fi
awk -F '\t' '{ printf "%-40s %-16s %-8s %s\n%67sbar: %s\n", $1, $2, $3, $4, "", $5 }' "$FAULTS_TABLE"
exit $status
