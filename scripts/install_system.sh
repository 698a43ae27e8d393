#!/usr/bin/env bash
# Install the Debian/Ubuntu packages that are missing, and say which. Root or sudo is used only when one is.
set -euo pipefail

missing=()
for package in "$@"; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
# Debian splits `venv` from Python; it is needed only to fetch uv.
if ! command -v uv >/dev/null && [ ! -x .uv/bin/uv ] && ! python3 -c 'import ensurepip' 2>/dev/null; then
  missing+=(python3-venv)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

echo "setup: installing Debian packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: not root and no sudo here; as root run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: this needs root: asking sudo"
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
