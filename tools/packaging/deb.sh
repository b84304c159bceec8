#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the Debian packages from a copy of the tree, which debian/ is placed in: `./tools/dev deb`.
# They are built twice, in two places, and must be the same bytes; lintian has no errors or warnings; and they are
# installed and tried in a root that has nothing but what they depend on.
# usage: deb.sh OUT [STEP...]   steps: build compare check_lintian try_in_root
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=$(realpath -m "$1")
VERSION=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build | head -1)
DATE=$(dpkg-parsechangelog -l tools/packaging/debian/changelog -S Timestamp)
SUITE=${SUITE:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}
MIRROR=${MIRROR:-} # empty: the one that mmdebstrap takes

say() { printf '%s\n' "$*" >&2; }
die() { say "deb: $*"; exit 1; }

# The files that git knows, as they are now: once, so that both builds are of the same ones.
copy_tree() {
    local to=$OUT/tree/blockpull-$VERSION
    rm -rf "$OUT/tree"
    mkdir -p "$to"
    git ls-files -z | tar --no-recursion --null -c -T - | tar -x -C "$to"
    tar -C "$OUT/tree" --sort=name --mtime="@$DATE" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
        -c "blockpull-$VERSION" | gzip -9n >"$OUT/tree/blockpull_$VERSION.orig.tar.gz"
    cp -r "$to/tools/packaging/debian" "$to/debian"
}

build_once() {
    say "deb: building in $1"
    rm -rf "$1"
    mkdir -p "${1%/*}"
    cp -a "$OUT/tree" "$1"
    (cd "$1/blockpull-$VERSION" && dpkg-buildpackage -us -uc) >"$1/build.log" 2>&1 ||
        { tail -40 "$1/build.log" >&2; die "not built; $1/build.log has all of it"; }
}

compare() {
    local one same=0
    for one in "$OUT"/first/*.deb "$OUT"/first/*.dsc; do
        cmp "$one" "$OUT/second/place/${one##*/}" || die "built twice, ${one##*/} differs"
        same=$((same + 1))
    done
    [ "$same" -ge 13 ] || die "only $same files to compare"
    say "deb: built twice to the same bytes: $same files"
}

check_lintian() {
    lintian --fail-on error,warning "$OUT"/first/*.changes >&2 || die "lintian is not content"
    say "deb: lintian has neither errors nor warnings"
}

# A root with dpkg and apt, then the packages with what they depend on, and what they are for.
try_in_root() {
    local root=$OUT/root
    rm -rf --one-file-system "$root"
    say "deb: making a root of $SUITE"
    mmdebstrap --mode=root --variant=apt --format=directory "$SUITE" "$root" ${MIRROR:+"$MIRROR"} >"$OUT/root.log" 2>&1 ||
        { tail -20 "$OUT/root.log" >&2; die "no root"; }
    mkdir "$root/packages"
    cp "$OUT"/first/{blockpull,libblockpull0,libblockpull-nbd0,nbdkit-blockpull-plugin,python3-blockpull}_*.deb "$root/packages"
    cp "$OUT"/first/libblockpull{,-nbd}-dev_*.deb tools/packaging/try_{dev,nbd}.c tools/bindings/python/examples/pull.py "$root/mnt"
    cp tools/packaging/try.sh "$root/try.sh"
    unshare --mount --propagation private sh -c "
        mount -t proc proc '$root/proc' && mount --bind /dev '$root/dev' && exec chroot '$root' sh /try.sh" >"$OUT/try.log" 2>&1 ||
        { tail -30 "$OUT/try.log" >&2; die "not as it should be in a small root; $OUT/try.log has all of it"; }
    grep '^ok ' "$OUT/try.log" >&2
}

build() {
    copy_tree
    build_once "$OUT/first"
    build_once "$OUT/second/place"
}

mkdir -p "$OUT"
shift
[ $# -gt 0 ] || set -- build compare check_lintian try_in_root
for step in "$@"; do
    case $step in
        build|compare|check_lintian|try_in_root) "$step" ;;
        *) die "no step '$step'" ;;
    esac
done
say "deb: the packages are in $OUT/first"
