#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Set-up that make does before anything else: setup.sh apt [tlb] | venv DIR
# Idempotent; says what it does, and nothing if there is nothing to do.
set -eu

# qemu, mmdebstrap, e2fsprogs, cpio, xz, busybox: the guest; headers, compiler, libelf, sparse:
# nooks.ko; the rest: Python and SSH.
packages="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs cpio xz-utils busybox-static
	linux-headers-amd64 build-essential bc libelf-dev sparse kmod
	python3 python3-venv openssh-client ca-certificates"
packages_tlb="bochs bochsbios vgabios grub-pc-bin grub-common xorriso mtools"

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 4; }

missing() {
	for package in "$@"; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
		[ "$status" = installed ] || printf '%s ' "$package"
	done
}

setup_apt() {
	command -v dpkg-query >/dev/null || die "this is not Debian; pynooks needs Debian 12"
	want=$packages
	if [ "${1:-}" = tlb ]; then want="$packages $packages_tlb"; fi
	# shellcheck disable=SC2086
	need=$(missing $want)
	[ -n "$need" ] || return 0
	sudo=
	if [ "$(id -u)" != 0 ]; then
		sudo -n true 2>/dev/null ||
			die "not root and no sudo: have someone run: apt-get install $need"
		sudo=sudo
	fi
	say "installing $need"
	$sudo apt-get update -qq || say "apt-get update failed; going on with the lists at hand"
	# A fresh machine upgrades itself in the background: wait for its lock, do not fail by it.
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 \
		install -y -q --no-install-recommends $need ||
		die "apt-get could not install: $need"
}

setup_venv() {
	dir=$1
	key=$(sha256sum pyproject.toml | cut -c1-64)-$(pwd)
	if [ -x "$dir/bin/pynooks" ] && [ "$(cat "$dir/pynooks.stamp" 2>/dev/null)" = "$key" ]; then
		return 0
	fi
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
		die "python3 is older than 3.11; pynooks needs Debian 12"
	say "making the virtual environment $dir"
	mkdir -p "$(dirname "$dir")"
	[ -x "$dir/bin/python" ] || python3 -m venv "$dir" || die "python3 -m venv failed"
	"$dir/bin/pip" install --quiet --disable-pip-version-check -e '.[dev]' ||
		die "pip could not install the dependencies of pyproject.toml"
	echo "$key" >"$dir/pynooks.stamp"
}

cd "$(dirname "$0")/.."
case "${1:-}" in
apt) setup_apt "${2:-}" ;;
venv) setup_venv "$2" ;;
*) die "usage: setup.sh apt [tlb] | venv DIR" ;;
esac
