#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the Containerfile and pulls an image in what it makes: `./tools/dev container`, as root.
# Its debian:12-slim is made here of Debian's packages, with this machine's way to them, so that no registry of images is
# asked. All that buildah keeps lies in OUT and is removed again.
# usage: container.sh OUT
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "$1"
OUT=$(realpath "$1")
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot # both work where this runs in a container itself

say() { printf '%s\n' "$*" >&2; }
die() { say "container: $*"; exit 1; }
in_storage() { buildah --root "$OUT/storage" --runroot "$OUT/run" "$@"; }

remove() {
    rm -rf --one-file-system "$OUT/storage" "$OUT/run" "$OUT/debian" "$OUT/vms"
}
trap remove EXIT

make_debian() {
    local container
    say "container: making debian:12-slim"
    mmdebstrap --mode=root --variant=minbase --format=directory bookworm "$OUT/debian" >"$OUT/debian.log" 2>&1 ||
        { tail -20 "$OUT/debian.log" >&2; die "no root"; }
    cp -a /etc/apt/. "$OUT/debian/etc/apt"
    cp -L /etc/hosts /etc/resolv.conf "$OUT/debian/etc"
    mkdir -p "$OUT/debian/etc/ssl"
    cp -aL /etc/ssl/certs "$OUT/debian/etc/ssl" 2>/dev/null || true
    container=$(in_storage from scratch)
    in_storage add -q "$container" "$OUT/debian" / >/dev/null
    in_storage commit -q "$container" docker.io/library/debian:12-slim >/dev/null
    in_storage rm "$container" >/dev/null
}

build() {
    say "container: building (build.log in $OUT)"
    in_storage bud --pull=never -t blockpull -f tools/fleet/Containerfile . >"$OUT/build.log" 2>&1 ||
        { tail -20 "$OUT/build.log" >&2; die "not built"; }
}

# What it starts, and as whom, is the image's to say; buildah starts nothing by itself.
look_at() {
    local said
    said=$(in_storage inspect --type image --format '{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.User}}' blockpull)
    [ "$said" = "[/usr/bin/blockpull] 65534:65534" ] || die "it starts: $said"
}

pull() {
    local container
    mkdir -p "$OUT/vms"
    qemu-img create -q -f raw "$OUT/vms/base.raw" 64M
    qemu-io -f raw -c 'write -P 7 1M 20M' "$OUT/vms/base.raw" >/dev/null
    qemu-img create -q -f qcow2 -b base.raw -F raw "$OUT/vms/vm.qcow2"
    qemu-img convert -O raw "$OUT/vms/vm.qcow2" "$OUT/vms/before.raw"
    chown -R 65534:65534 "$OUT/vms"
    container=$(in_storage from --pull=never blockpull)
    in_storage run --user 65534:65534 -v "$OUT/vms:/vms" "$container" -- /usr/bin/blockpull pull /vms/vm.qcow2 >&2
    in_storage rm "$container" >/dev/null
    rm "$OUT/vms/base.raw"
    qemu-img compare -q "$OUT/vms/vm.qcow2" "$OUT/vms/before.raw" || die "the image has other bytes than before"
}

[ "$(id -u)" -eq 0 ] || die "run as root: it makes a root directory of Debian's packages"
remove
make_debian
build
look_at
pull
say "container: built, and an image pulled in it"
