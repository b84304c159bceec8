#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes one static library of several, with the public names alone.
# usage: static_library.sh OUTPUT OBJCOPY AR ARCHIVE... -- CC...
set -eu
output=$1 objcopy=$2 ar=$3
shift 3
archives=
while [ "$1" != -- ]; do
    archives="$archives $1"
    shift
done
shift
object=${output%.a}.o
# The names of archives are Meson's, without spaces.
# shellcheck disable=SC2086
"$@" -r -nostdlib -o "$object" -Wl,--whole-archive $archives -Wl,--no-whole-archive
"$objcopy" --localize-hidden "$object"
rm -f "$output"
"$ar" rcsD "$output" "$object"
rm "$object"
