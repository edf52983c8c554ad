#!/bin/sh
# Makes the secrets that the set-ups need, as files in secrets/ beside this script; what is there is kept.
#
# The folder is closed to others; the files in it can be read by all, since each is put into a container under a user
# that this machine does not know.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
make() {
    [ -s "$folder/$1" ] || od -An -N18 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$1"
    chmod 444 "$folder/$1"
}
make admin_password
make root_metrics_token
make cluster_metrics_token
make grafana_password
# Filled by hand, with `mangrove cluster token`, where the root is another machine's.
[ -e "$folder/cluster_token" ] || : >"$folder/cluster_token"
chmod 644 "$folder/cluster_token"
