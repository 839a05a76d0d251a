#!/usr/bin/env bash
# Installs the Debian packages named as arguments, those that are missing; does nothing when all are there.
set -eu
missing=()
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}"
run=()
[ "$(id -u)" -eq 0 ] || run=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${run[@]}" apt-get update -q >/dev/null
# A broker that the package would start on port 1883 is not wanted: a policy that says no to every service, for this call only.
policy=/usr/sbin/policy-rc.d
made=0
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' | "${run[@]}" tee "$policy" >/dev/null; "${run[@]}" chmod +x "$policy"; made=1; }
"${run[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null || { [ $made = 1 ] && "${run[@]}" rm -f "$policy"; echo "apt-get install failed; run it by hand to see why" >&2; exit 1; }
[ $made = 1 ] && "${run[@]}" rm -f "$policy"
exit 0
