#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Run by deb.sh in a small root: installs the packages and does what they are for. Each line that begins with "ok"
# is a promise kept; the first one that is not ends it.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

install() { apt-get install -q -y --no-install-recommends "$@"; }

apt-get update -q
install /packages/*.deb
echo "ok installed with $(dpkg-query -f '.\n' -W | wc -l) packages in the root"

mkdir /scratch
cd /scratch
blockpull --version | grep -q '^features:.* seccomp'
head -c 3M /dev/urandom >base.raw
blockpull create -q -f qcow2 -b base.raw -F raw top.qcow2
before=$(blockpull hash top.qcow2)
blockpull pull -q top.qcow2
rm base.raw
[ "$before" = "$(blockpull hash top.qcow2)" ]
blockpull check top.qcow2
echo "ok a pull"

grep -q 'complete .*blockpull' /usr/share/bash-completion/completions/blockpull
bash -c 'source /usr/share/bash-completion/completions/blockpull; COMP_WORDS=(blockpull flat); COMP_CWORD=1; _blockpull
    [ "${COMPREPLY[*]}" = flatten ]
    source /usr/share/bash-completion/completions/blockpull-bench; COMP_WORDS=(blockpull-bench st); COMP_CWORD=1; _blockpull_bench
    [ "${COMPREPLY[*]}" = stall ]'
[ -s /usr/share/zsh/vendor-completions/_blockpull ] && [ -s /usr/share/fish/vendor_completions.d/blockpull.fish ]
echo "ok completions"

nbdkit blockpull --dump-plugin | grep -q '^name=blockpull'
blockpull create -q -f qcow2 small.qcow2 1M
nbdkit -U - blockpull small.qcow2 --run 'test -S "$unixsocket"'
echo "ok the plugin"

head -c 3M /dev/urandom >base.raw
blockpull create -q -f qcow2 -b base.raw -F raw python.qcow2
before=$(blockpull hash python.qcow2)
python3 -c 'import blockpull; print(blockpull.version())'
python3 /mnt/pull.py python.qcow2
rm base.raw
[ "$before" = "$(blockpull hash python.qcow2)" ]
echo "ok a pull from Python"

install /mnt/libblockpull-dev_*.deb gcc libc6-dev pkg-config
# Words are wanted.
# shellcheck disable=SC2046
gcc -Wall -Werror /mnt/try_dev.c -o dynamic $(pkg-config --cflags --libs blockpull)
./dynamic small.qcow2 | grep -qx 1048576
echo "ok a program with the shared library"
# All but the C library, which few systems have as a whole.
# shellcheck disable=SC2046
gcc -Wall -Werror /mnt/try_dev.c -o static -Wl,-Bstatic $(pkg-config --static --cflags --libs blockpull) -Wl,-Bdynamic
./static small.qcow2 | grep -qx 1048576
! ldd static | grep -E 'blockpull|uring|zstd|deflate|xxhash|libz'
echo "ok a program with the static library"
[ "$(nm -g --defined-only /usr/lib/*/libblockpull.a | awk 'NF == 3 {print $3}' | grep -vc '^bpull_')" = 0 ]
echo "ok no names in it but public ones"
for name in $(nm -D --defined-only /usr/lib/*/libblockpull.so | sed -n 's/.* \(bpull_[a-z_]*\)@.*/\1/p'); do
    [ -e "/usr/share/man/man3/$name.3.gz" ] || { echo "no page for $name"; exit 1; }
done
echo "ok a page for each call"

apt-get purge -q -y blockpull python3-blockpull libblockpull0
[ ! -e /usr/bin/blockpull ] && [ -z "$(ls -d /usr/share/doc/libblockpull* 2>/dev/null)" ]
echo "ok removed again"
