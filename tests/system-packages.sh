#!/bin/sh
# Gets programs that do not come with pip, from Debian's or Ubuntu's packages: system-packages.sh PROGRAM:PACKAGE...
#
# Where a program is there already nothing is done; where it cannot be installed (not root, no apt-get, or NO_APT=1) it
# says what is missing and exits 0: tests that need it are skipped.
set -eu
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"

missing=
for entry in "$@"; do
    command -v "${entry%%:*}" >/dev/null || missing="$missing ${entry##*:}"
done
[ -n "$missing" ] || exit 0

if [ -n "${NO_APT:-}" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed here, so what needs it is left out; to have it, as root: apt-get install$missing" >&2
    exit 0
fi

# Debian starts a service when its package is installed, and again at every boot. Tests start what they need themselves,
# so services that were not there before are neither started (a policy says so, unless the machine has one of its own)
# nor left enabled.
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
if [ -e "$policy" ]; then
    policy=
else
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
trap 'rm -f "$log" $policy' EXIT
trap 'exit 1' INT TERM

new_units=
if [ -d /run/systemd/system ]; then
    for unit in docker.service docker.socket containerd.service mosquitto.service prometheus.service; do
        systemctl cat "$unit" >/dev/null 2>&1 || new_units="$new_units $unit"
    done
fi

echo "installing$missing"
# shellcheck disable=SC2086 # words are meant to be split
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 $missing; } \
        >"$log" 2>&1; then
    cat "$log" >&2
    echo "apt-get failed; NO_APT=1 goes on without these packages:$missing" >&2
    exit 1
fi
for unit in $new_units; do
    systemctl --quiet disable "$unit" 2>/dev/null || true # not every package brings every unit
done
