#!/usr/bin/env bash
# simulation.sh [COUNT [FROM]]: plays COUNT farms on a simulated clock (a million without it),
# on all cores; see tests/simulation/sim.h. Fails when one of them does, and says which.
set -euo pipefail
cd "$(dirname "$0")/.."

count=${1:-1000000} from=${2:-1} cores=$(nproc) status=0
program=build/release/tests/simulation/simulation
[ -x "$program" ] || tools/build.sh release -DUNDERSCORE_TESTS=ON > /dev/null
each=$(((count + cores - 1) / cores))
pids=()
for ((i = 0; i < cores; i++)); do
    "$program" --seeds $((from + i * each)) "$each" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || status=1
done
exit $status
