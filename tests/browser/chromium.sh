#!/usr/bin/env bash
# Prints where a Chromium is; installs Debian's, with what it needs to show Arabic, Chinese and emoji, if there is none.
set -euo pipefail

chromium=${CHROMIUM:-/usr/bin/chromium}
packages=()
[ -x "$chromium" ] || packages+=(chromium)
has_font() { command -v fc-list >/dev/null && [ -n "$(fc-list ":lang=$1" family)" ]; }
has_font ar || packages+=(fonts-hosny-amiri)
has_font zh || packages+=(fonts-wqy-zenhei)
has_font und-zsye || packages+=(fonts-noto-color-emoji)

install() {
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo -n)
  "${root[@]}" apt-get update -q && "${root[@]}" apt-get install -qy --no-install-recommends fontconfig "$@"
}
if [ ${#packages[@]} -gt 0 ] && ! install "${packages[@]}" >&2; then
  if [ ! -x "$chromium" ]; then
    echo "The browser tests need Chromium. Install the package 'chromium', or say where one is: CHROMIUM=/path/to/it" >&2
    exit 1
  fi
  echo "No fonts for all scripts: ${packages[*]} could not be installed; screenshots may show boxes." >&2
fi
echo "$chromium"
