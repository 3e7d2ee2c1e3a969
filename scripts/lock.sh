#!/usr/bin/env bash
# Makes constraints.txt again: one lock of all extras for every supported Python and system.
#   scripts/lock.sh            keeps the versions that still fit
#   scripts/lock.sh --upgrade  takes the newest that the bounds allow
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Compiling in a folder of its own keeps this machine's paths out of the lock.
# torch is left out: its CUDA packages are needed by no reader.
grep -v '^ *"torch\b' pyproject.toml > "$work/pyproject.toml"
if [ -f constraints.txt ]; then cp constraints.txt "$work/"; fi

"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet uv~=0.9

# One version per package wherever one fits all Pythons ("fewest"): the same numbers everywhere.
(cd "$work" && venv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
    --fork-strategy fewest --annotation-style line --no-header --all-extras "$@" \
    --output-file constraints.txt pyproject.toml)

{
    echo "# The full lock, for Python 3.11 and later. Made by scripts/lock.sh; change pyproject.toml instead."
    grep -v '^#' "$work/constraints.txt"
} > constraints.txt
