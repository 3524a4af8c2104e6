#!/bin/sh
# tidy.sh: clang-tidy with .clang-tidy over every C source that build/clang
# compiles, and clang-format's form. Every finding is an error.
#
# Tests go without the analyzer, which takes a failed assertion for a path that
# goes on, may multiply their small sizes as they like, and may call a shell.
set -u
cd "$(dirname "$0")/.."

tidy() { # PATTERN [OPTIONS]
    pattern=$1
    shift
    run-clang-tidy -quiet -p build/clang -j "$(nproc)" "$@" "^$PWD/$pattern" 2>&1
}

log=build/clang/tidy.log
findings=build/clang/tidy.txt
for_tests='-clang-analyzer-*,-bugprone-implicit-widening-of-multiplication-result,-cert-env33-c'
{
    tidy '.*(?<!_test|_fuzz)\.c$'
    tidy '.*(_test|_fuzz)\.c$' "-checks=$for_tests"
} | sed 's/\x1b\[[0-9;]*m//g' > "$log"
grep -E '(error|warning): ' "$log" | sort -u > "$findings"
cat "$findings"

# A pattern that matches nothing must not look like clean code.
sources=$(grep '"file":' build/clang/compile_commands.json | sort -u | wc -l)
checked=$(grep '^clang-tidy' "$log" | sed 's/.* //' | sort -u | wc -l)
echo "$checked of $sources sources checked, $(wc -l < "$findings") findings"
[ "$checked" -eq "$sources" ] && [ ! -s "$findings" ] || exit 1
# Nor must one that it crashed on.
if grep -E '^[0-9]+\.[[:space:]]+Program arguments: ' "$log"; then
    echo "clang-tidy crashed; what it said is in $log"
    exit 1
fi
tools/sources.sh | xargs clang-format --dry-run -Werror || {
    echo "\`make format\` brings them into form"
    exit 1
}
