#!/bin/sh
# Make the virtual environment from the lock file: every package in the pinned version, with its hash checked.
# On a bare Debian the venv module may be missing; root may install it, anybody else is told.
set -eu
python=$1 venv=$2
root=$(cd "$(dirname "$0")/.." && pwd)

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $python is older than 3.11" >&2
    echo "hint: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "error: $python has no venv module" >&2
        echo "hint: sudo apt-get install python3-venv" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
fi
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv"
fi
# The lock names everything, so nothing is resolved anew: an older pip would look past a pin for what has extras.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$root/requirements.lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e "$root"
