#!/usr/bin/env bash
# test.sh [LANE...]: the proof, lane by lane; all but the last four without arguments. Goes on
# after a failure, so that one run shows everything; ends with the sum.
#
#   release     gcc, warnings are errors; every test but operations, model and composer, which `validation` has, and
#               media, which `addresses` has
#   subgroup4   engine and operations with subgroups of 4 (lavapipe's are 8, or 16: cpu_width.h)
#   validation  all that runs on the device, with 8, under the Vulkan validation layer with synchronisation checks
#   addresses   under AddressSanitizer, LeakSanitizer and UBSan; of the end-to-end tests those of damaged and hostile
#               files, settings, messages and requests
#   threads     under ThreadSanitizer, where there are threads: not plans, operations, model, weights, stages, delivery
#               and the simulation, which run in their caller's; of the end-to-end tests a whole farm's
#   tidy        built by clang, warnings are errors; clang-tidy over every source, and clang-format's form
#   package     the .debs and the tarball: built, unpacked, run
#   fuzz        libFuzzer on every reader of foreign bytes, seconds each
#   clang       the tests as clang builds them
#   asan, tsan  what `addresses` and `threads` leave out as well
#   subgroup16  what validation runs, without it and with 16, on a processor with AVX-512 and Mesa 22.3
set -uo pipefail
cd "$(dirname "$0")/.."

jobs=$(($(nproc) + 1)) # many tests wait for something now and then
logs=build/logs
passed=0 failed=0 skipped=0
failures=()

# Films, models and compiled kernels of a test run stay in build/.
export XDG_CACHE_HOME=$PWD/build/cache
mkdir -p "$logs" "$XDG_CACHE_HOME"

# What runs kernels on the device, by the folder its source is in.
on_device='^worker/(engine|ops|model|composer|bench)$|^tests/(stages|flow)$'

# What runs in its caller's thread alone.
one_thread='^worker/(ops|model|weights)$|^tests/(stages|flow)$|^common/timeline$|^simulation$'

# What `addresses` and `threads` leave to `asan` and `tsan`: a program takes twice as long to start there.
left_to_asan='^(composer_test|net_faults|(bench_farm|builtin_model|elastic|farm|farm_admin|farm_files|farm_orders|farm_submit|help|keys|model|page|resume|score|service|steps|summary|watch)_e2e)$'
left_to_tsan='^(track_writer_test|(elastic|farm_orders|model)_e2e)$'

# step NAME COMMAND...: one thing that passes or fails; its output goes to a log.
step() {
    local name=$1 start=$SECONDS
    shift
    if "$@" > "$logs/$name.log" 2>&1 < /dev/null; then
        passed=$((passed + 1))
        printf '%-22s ok      %4d s\n' "$name" $((SECONDS - start))
        return 0
    fi
    failed=$((failed + 1))
    failures+=("$name: see $logs/$name.log")
    printf '%-22s FAILED  %4d s\n' "$name" $((SECONDS - start))
    tail -n 60 "$logs/$name.log"
    return 1
}

attribute() { # FILE NAME: of the first <testsuite> of a JUnit file
    sed -n "s/.*[[:space:]]$2=\"\\([0-9]*\\)\".*/\\1/p" "$1" | head -n 1
}

failed_tests() { # FILE: how each test that failed ended, from ctest's output
    awk 'function flush() { for (i = n > 25 ? n - 24 : 1; i <= n; i++) print "    " line[i]; n = 0 }
         /^ *[0-9]+\/[0-9]+ Test|^ *Start |tests passed/ { flush(); on = 0 }
         /\*\*\*/ { on = 1 }
         on { line[++n] = $0 }' "$1"
}

# suite NAME PRESET [CTEST OPTIONS]: a ctest run; its tests are counted one by one.
suite() {
    local name=$1 preset=$2 start=$SECONDS tests bad left
    shift 2
    rm -f "$logs/$name.xml"
    ctest --test-dir "build/$preset" --no-tests=error -j "$jobs" --timeout 900 \
        --output-on-failure --output-junit "$PWD/$logs/$name.xml" "$@" \
        > "$logs/$name.log" 2>&1 < /dev/null
    local status=$?
    tests=$(attribute "$logs/$name.xml" tests 2> /dev/null || true)
    bad=$(attribute "$logs/$name.xml" failures 2> /dev/null || true)
    left=$(attribute "$logs/$name.xml" skipped 2> /dev/null || true)
    if [ $status -ne 0 ] && [ "${bad:-0}" -eq 0 ]; then
        bad=$((${bad:-0} + 1)) # ctest itself failed
    fi
    passed=$((passed + ${tests:-0} - ${bad:-0} - ${left:-0}))
    failed=$((failed + ${bad:-0}))
    skipped=$((skipped + ${left:-0}))
    if [ $status -ne 0 ]; then
        failures+=("$name: see $logs/$name.log" "$(failed_tests "$logs/$name.log")")
        sed -n '/tests passed/,$p' "$logs/$name.log"
    fi
    printf '%-22s %d tests, %d failed, %d skipped  %4d s\n' "$name" "${tests:-0}" "${bad:-0}" \
        "${left:-0}" $((SECONDS - start))
    return $status
}

build() { # PRESET: built at most once in a run
    if [ -z "${built[$1]:-}" ]; then
        step "build-$1" tools/build.sh "$1" -DUNDERSCORE_WERROR=ON -DUNDERSCORE_TESTS=ON
        built[$1]=$?
    fi
    return "${built[$1]}"
}
declare -A built=()

# A small quarantine: with the usual one lavapipe's large command buffers cost
# a fresh mapping each, and the suite four times as long.
export ASAN_OPTIONS=strict_string_checks=1:quarantine_size_mb=8
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
# Mesa and FFmpeg are not built with ThreadSanitizer: it cannot see their locks.
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:second_deadlock_stack=1

lane_release() { build release && suite release release -LE '^worker/(ops|model)$|^common/media$|^tests/flow$'; }
lane_subgroup4() { build release && LP_NATIVE_VECTOR_WIDTH=128 suite subgroup4 release -L '^worker/(engine|ops)$'; }
lane_subgroup16() { build release && LP_NATIVE_VECTOR_WIDTH=512 suite subgroup16 release -L "$on_device"; }
lane_validation() {
    build release &&
        LP_NATIVE_VECTOR_WIDTH=256 UNDERSCORE_TEST_VALIDATION=1 suite validation release -L "$on_device"
}
lane_addresses() { build asan && suite addresses asan -E "$left_to_asan"; }
lane_asan() { build asan && suite asan asan; }
lane_threads() { build tsan && suite threads tsan -LE "$one_thread" -E "$left_to_tsan"; }
lane_tsan() { build tsan && suite tsan tsan; }
lane_clang() { build clang && suite clang clang -LE "$on_device|^tests/(e2e|faults)$"; }
lane_tidy() { build clang && step tidy tools/tidy.sh; }
lane_package() { build release && step package tools/package.sh; }
lane_fuzz() { step build-fuzz tools/fuzz.sh build && suite fuzz fuzz -R '_fuzz$'; }

lanes=("$@")
[ ${#lanes[@]} -eq 0 ] && lanes=(release subgroup4 validation addresses threads tidy package fuzz)
for lane in "${lanes[@]}"; do
    "lane_$lane"
done

printf '\n%d minutes\n' $(((SECONDS + 59) / 60))
for failure in "${failures[@]}"; do
    echo "$failure"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
