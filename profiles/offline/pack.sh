#!/bin/sh
# At home, in the project's folder: all that a machine without network needs, as one new folder.
#     profiles/offline/pack.sh FOLDER PYTHON [TARGET ...]
# PYTHON: that machine's version, such as 3.12; none: it has the packages. TARGETs: what dvc push takes; default: all.
# WITHOUT: packages that it has, as a regular expression. ARCH: its processor; default: this machine's.
set -eu
here=$(dirname "$0") folder=$1 python=$2
shift 2
export PATH="$PWD/.venv/bin:$PWD/.tools/bin:$PATH"
[ ! -e "$folder" ] || { echo "pack.sh: $folder is there already; remove it or name another" >&2; exit 2; }
mkdir -p "$folder"
git diff --quiet HEAD || echo "pack.sh: what is not committed stays here" >&2
git archive --output "$folder/tree.tar" HEAD
cp "$here/run.sh" "$folder"
dvc remote add --quiet --local --force offline "$folder/cache"
dvc remote modify --local offline verify true  # else dvc pull takes a damaged file for a good one
dvc push --remote offline "$@"
if [ "$python" != none ]; then
    : "${ARCH:=$(uname -m)}"
    awk -v without="^(${WITHOUT:-})==" '/^[^ #]/ {skip = $1 ~ without} !skip' requirements.lock > "$folder/packages.txt"
    # shellcheck disable=SC2046
    pip download --quiet --no-deps --require-hashes --requirement "$folder/packages.txt" --dest "$folder/wheels" \
        --python-version "$python" --platform "manylinux2014_$ARCH" \
        $(printf -- "--platform manylinux_2_%s_$ARCH " $(seq 28 -1 17))
    find "$folder/wheels" -name '*.tar.gz' | while read -r source; do  # a package that has no wheel
        uv build --quiet --offline --no-build-isolation --python .venv/bin/python --wheel \
            --out-dir "$folder/wheels" "$source"
        rm "$source"
    done
fi
cd "$folder"
find . -type f ! -name SHA256SUMS -exec sha256sum {} + > SHA256SUMS
