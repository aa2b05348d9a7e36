#!/usr/bin/env bash
# Installs the programs that the lab needs, where they are missing (Debian and its kin). Quick when nothing is.
set -euo pipefail

declare -A package_of=(
  [debootstrap]=debootstrap [rpmbuild]=rpm [createrepo_c]=createrepo-c [systemd-nspawn]=systemd-container
  [mkfs.btrfs]=btrfs-progs [mkfs.xfs]=xfsprogs [gpg]=gnupg [ssh]=openssh-client [ip]=iproute2 [zstd]=zstd
  [xz]=xz-utils [gpg-agent]=gpg-agent [cc]=gcc [fuser]=psmisc [lsof]=lsof
  [qemu-system-x86_64]=qemu-system-x86 [busybox]=busybox-static [cpio]=cpio
  [linux.uml]=user-mode-linux [mkinitramfs]=initramfs-tools-core [dracut]=dracut-core
)
missing=(); packages=()
for program in "${!package_of[@]}"; do
  if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null; then
    missing+=("$program"); packages+=("${package_of[$program]}")
  fi
done
[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || packages+=(debian-archive-keyring)
[[ ${#packages[@]} -eq 0 ]] && exit 0

if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}; as root, install: ${packages[*]}" >&2
  exit 1
fi
echo "installing ${packages[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
