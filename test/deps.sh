#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages the tests need, as root; otherwise says what is missing.
set -euo pipefail

# command or file:package
needs=(git:git tar:tar zstd:zstd sudo:sudo ssh:openssh-client /usr/sbin/sshd:openssh-server
  java:default-jre-headless /usr/share/java/zookeeper.jar:zookeeper)

missing=()
for n in "${needs[@]}"; do
  what=${n%%:*}
  [ -e "$what" ] || command -v "$what" >/dev/null || missing+=("${n##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
else
  echo "the tests need these packages, please install them: ${missing[*]}" >&2
  exit 1
fi
