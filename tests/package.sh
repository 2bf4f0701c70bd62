#!/usr/bin/env bash
# Build wheel and sdist, install the wheel into an empty environment, and use it far from the repository.
#
#     tests/package.sh PYTHON FOLDER     PYTHON has hatchling; everything is written below FOLDER
set -euo pipefail
python=$(realpath -s "$1") folder=$(realpath "$2")
cd "$(dirname "$0")/.."
"$python" -m hatchling build -d "$folder/dist"
"$python" -m venv "$folder/empty"
pip="$folder/empty/bin/pip install -q --disable-pip-version-check --no-compile"
# Dependencies have the versions of the lock file.
grep -oE '^[A-Za-z0-9_.-]+==[^ ]+( ;[^\\]*)?' requirements.lock >"$folder/versions"
$pip -c "$folder/versions" "$folder"/dist/*.tar.gz
"$folder/empty/bin/dynamics" --help >/dev/null
$pip --no-deps --force-reinstall "$folder"/dist/*.whl
mkdir "$folder/work"
cd "$folder/work"
PATH=$folder/empty/bin:$PATH
unset PYTHONPATH
dynamics new paper toy
dynamics run --config=toy/config.py:smoke --name=toy-smoke
dynamics figures runs/toy-smoke
dynamics verify runs/toy-smoke
dynamics claims --module=toy.claims
# The shipped papers need a copy of the repository, and the answer says so.
status=0
dynamics claims cooccurrence 2>answer || status=$?
[ $status = 2 ] && grep -q "the shipped papers are in the repository" answer
