#!/bin/sh
# sources.sh: the C sources and headers that are ours, one a line. Headers that
# GLSL reads too are left out: clang-format does not know that language.
set -eu
cd "$(dirname "$0")/.."
find cli common coordinator stage worker tests -name '*.[ch]' | sort
