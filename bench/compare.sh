#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Pulls beside `qemu-img rebase -b ""`, in turn, until durable, and prints
# seconds and the ratio of the medians. Absolute times of a noisy machine mean
# little; a ratio of two commands taken in turn does.
#
# usage: bench/compare.sh BLOCKPULL [dense|qcow2|scattered|deep]...
set -euo pipefail

readonly BLOCKPULL=$1
shift
ROUNDS=${ROUNDS:-5}
dir=$(mktemp -d "${TMPDIR:-/tmp}/blockpull-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# Bytes no zero detection or deduplication can shortcut.
fill() { # FILE OFFSET_MIB COUNT_MIB
    openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c "$3M" |
        dd of="$1" bs=1M seek="$2" conv=notrunc iflag=fullblock status=none || true
}

base_dense() {
    truncate -s 2G base
    fill base 0 2048
    echo raw
}
base_qcow2() {
    truncate -s 1G raw
    fill raw 0 1024
    qemu-img convert -O qcow2 raw base
    rm raw
    echo qcow2
}
# 512 MiB in 64 KiB islands over 16 GiB.
base_scattered() {
    truncate -s 16G base
    truncate -s 512M data
    fill data 0 512
    python3 - <<'PY'
data = open("data", "rb")
base = open("base", "r+b")
for i in range(8192):
    base.seek(i * 2 * 1048576 + (i * 7919 % 31) * 65536)
    base.write(data.read(65536))
PY
    rm data
    echo raw
}
base_deep() {
    truncate -s 1G layer0
    fill layer0 0 64
    local format=raw i
    for i in $(seq 1 15); do
        qemu-img create -q -f qcow2 -b "layer$((i - 1))" -F "$format" "layer$i"
        format=qcow2
        qemu-io -f qcow2 -c "write -P $i $((i * 64))M 64M" "layer$i" >/dev/null
    done
    ln -s layer15 base
    echo qcow2
}

seconds() { # COMMAND...
    local start end
    start=$(date +%s%N)
    "$@" >/dev/null
    end=$(date +%s%N)
    echo $(((end - start) / 1000))
}

overlay() {
    rm -f overlay
    qemu-img create -q -f qcow2 -b base -F "$1" overlay
    sync
    cat base >/dev/null
}

rebase() { qemu-img rebase -b "" overlay && sync -d overlay; }
pull() { "$BLOCKPULL" pull -q --progress=none overlay; }

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for scenario in "${@:-dense}"; do
    case $scenario in dense|qcow2|scattered|deep) ;; *) echo "unknown scenario '$scenario'" >&2; exit 2 ;; esac
    rm -rf ./*
    format=$("base_$scenario")
    : >ours
    : >theirs
    for _ in $(seq "$ROUNDS"); do
        overlay "$format"; seconds pull >>ours
        overlay "$format"; seconds rebase >>theirs
    done
    a=$(median <ours) b=$(median <theirs)
    awk -v s="$scenario" -v a="$a" -v b="$b" 'BEGIN {
        printf "%-10s pull %.2f s, qemu-img rebase %.2f s: %.2f times as fast\n", s, a / 1e6, b / 1e6, b / a }'
done
