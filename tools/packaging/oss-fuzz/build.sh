#!/bin/bash -eu
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the targets of tests/fuzz into $OUT, with what OSS-Fuzz sets: CC, CXX, CFLAGS, LIB_FUZZING_ENGINE, SRC, WORK.
# Libraries are linked statically, as they are not there where the targets run.
cd "$SRC/blockpull"
rm -rf "$WORK/build"
# CFLAGS has the sanitizers; Meson takes it, and links with it.
meson setup "$WORK/build" --prefer-static -Dfuzz=true -Dfuzz_engine="$LIB_FUZZING_ENGINE" -Dtests=disabled -Ddocs=disabled \
    -Dnbdkit=disabled -Dlibnbd=disabled -Dseccomp=disabled -Dstatic=disabled -Db_lundef=false -Dbuildtype=plain
ninja -C "$WORK/build" fuzzers
"$WORK/build/tests/fuzz/fuzz_seeds" "$WORK/seeds"
for target in "$WORK"/build/tests/fuzz/fuzz_*; do
    name=${target##*/fuzz_}
    [ -x "$target" ] && [ ! -d "$target" ] && [ "$name" != seeds ] || continue
    cp "$target" "$OUT/"
    # What is known already: seeds that the tree makes, and what was found before.
    mkdir -p "$WORK/corpus/$name"
    for dir in "$WORK/seeds/$name" "tests/fuzz/corpus/$name"; do
        [ ! -d "$dir" ] || cp "$dir"/* "$WORK/corpus/$name/"
    done
    [ -z "$(ls "$WORK/corpus/$name")" ] || (cd "$WORK/corpus/$name" && zip -q -r - .) >"$OUT/fuzz_${name}_seed_corpus.zip"
    printf '[libfuzzer]\nmax_len = 65536\n' >"$OUT/fuzz_$name.options"
done
