#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Checks blockpull.spec: rpmspec reads it, its version is the tree's, and rpmbuild builds and packs the tree with it.
# Debian's packages are no RPMs, so that what the spec file requires is not asked for (--nodeps).
# usage: rpm.sh OUT
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=$(realpath -m "$1")
SPEC=$PWD/tools/packaging/blockpull.spec
VERSION=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build | head -1)
readonly NAMES="blockpull libblockpull libblockpull-devel libblockpull-static libblockpull-nbd libblockpull-nbd-devel libblockpull-nbd-static nbdkit-blockpull-plugin"

die() { printf 'rpm: %s\n' "$*" >&2; exit 1; }

rm -rf "$OUT"
mkdir -p "$OUT/SOURCES" "$OUT/tmp"
packages=$(rpmspec -q --qf '%{name} %{version}\n' "$SPEC" | grep -v -e '-debug')
[ "$packages" = "$(printf "%s $VERSION\n" $NAMES)" ] || die "not the packages, or not the version: $packages"
git ls-files -z | tar --no-recursion --null -c -T - --transform "s,^,blockpull-$VERSION/," | gzip -9n >"$OUT/SOURCES/blockpull-$VERSION.tar.gz"
rpmbuild -ba --nodeps --define "_topdir $OUT" --define "_tmppath $OUT/tmp" "$SPEC" >"$OUT/build.log" 2>&1 ||
    { tail -30 "$OUT/build.log" >&2; die "not built; $OUT/build.log has all of it"; }
for name in $NAMES; do
    found=$(ls "$OUT"/RPMS/*/"$name-$VERSION"-*.rpm) || die "no RPM of $name"
    [ -n "$(rpm -qlp "$found")" ] || die "$name is empty"
done
printf 'rpm: built of the spec file: %s\n' "$(ls "$OUT"/RPMS/*/ | tr '\n' ' ')" >&2
