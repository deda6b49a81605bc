#!/bin/sh
# Programs of Debian that some tests meet for real: a browser, promtool, PostgreSQL. Nothing else needs them.
# Root may install them; anybody else is told, and the tests that need one say that they were skipped.
set -eu
missing=""
command -v chromium >/dev/null || missing="$missing chromium"
command -v promtool >/dev/null || missing="$missing prometheus"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "note: some tests will be skipped, for these are not here:$missing" >&2
    echo "hint: sudo apt-get install --no-install-recommends$missing" >&2
    exit 0
fi
# Packages of servers start them; none is wanted running here.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
# shellcheck disable=SC2086 - a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
