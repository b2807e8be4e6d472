#!/bin/sh
# On a machine without network, in the folder that pack.sh made: sh run.sh TIME [TARGET ...], as often as needed.
# Runs dvc repro for TIME (9m, 2h) at most; the next call goes on. Exits 124 if time ran out.
# VENV: an environment with the packages; else python3 makes one from wheels/ and the packages that it has.
set -eu
cd "$(dirname "$0")"
time=$1
shift
[ -d tree ] || sha256sum --check --quiet SHA256SUMS
if [ -z "${VENV:-}" ] && [ ! -e venv/ready ]; then
    python3 -m venv --clear --system-site-packages venv
    venv/bin/python -m pip install --quiet --no-compile --no-index --no-deps wheels/*.whl
    touch venv/ready
fi
export PATH="${VENV:-$PWD/venv}/bin:$PATH" PYTHONPATH="$PWD/tree/src"
if [ ! -d tree ]; then
    rm -rf unpacked && mkdir unpacked && tar -xf tree.tar -C unpacked
    cd unpacked
    dvc config --local core.no_scm true
    dvc cache dir --local ../cache  # what is made is in the folder at once, also if the next second kills it all
    dvc checkout --quiet --allow-missing
    cd .. && mv unpacked tree
fi
cd tree
timeout --signal INT --kill-after 60 "$time" dvc repro "$@"
