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

head -c 3M /dev/urandom >far.raw
nbdkit -U server.sock --pidfile server.pid file far.raw
blockpull create -q -f qcow2 -b "nbd+unix:///?socket=$PWD/server.sock" -F raw --allow-remote="nbd+unix:$PWD" far.qcow2
cp far.qcow2 kept.qcow2
if blockpull pull -q --allow-remote=nbd:example.org far.qcow2 2>refusal; then exit 1; fi
grep -q -- "--allow-remote=.*nbd+unix:$PWD" refusal
blockpull pull -q --allow-remote="nbd+unix:$PWD" far.qcow2
[ "$(blockpull hash far.raw | cut -d' ' -f1)" = "$(blockpull hash far.qcow2 | cut -d' ' -f1)" ]
echo "ok a pull from a server, and the refusal of another"

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
install /mnt/libblockpull-nbd-dev_*.deb
# shellcheck disable=SC2046
gcc -Wall -Werror /mnt/try_nbd.c -o dynamic $(pkg-config --cflags --libs blockpull-nbd)
# Debian has no static library of p11-kit, which GnuTLS needs: it and libnbd come as shared ones.
# shellcheck disable=SC2046
gcc -Wall -Werror /mnt/try_nbd.c -o static -Wl,-Bstatic -lblockpull-nbd $(pkg-config --static --cflags --libs blockpull) \
    -Wl,-Bdynamic $(pkg-config --libs libnbd gnutls)
! ldd static | grep -E 'blockpull|uring|zstd|deflate|xxhash'
for program in ./dynamic ./static; do
    $program kept.qcow2 "nbd+unix:$PWD" | grep -qx "nbd+unix:///?socket=$PWD/server.sock 3145728"
    if $program kept.qcow2 nbd:example.org 2>refusal; then exit 1; fi
    grep -q 'no image may name it' refusal
done
kill "$(cat server.pid)"
echo "ok programs with libblockpull-nbd, shared and static"
[ "$(nm -g --defined-only /usr/lib/*/libblockpull*.a | awk 'NF == 3 {print $3}' | grep -vc '^bpull_')" = 0 ]
echo "ok no names in them but public ones"
for name in $(nm -D --defined-only /usr/lib/*/libblockpull.so /usr/lib/*/libblockpull-nbd.so | sed -n 's/.* \(bpull_[a-z_]*\)@.*/\1/p'); do
    [ -e "/usr/share/man/man3/$name.3.gz" ] || { echo "no page for $name"; exit 1; }
done
echo "ok a page for each call"

apt-get purge -q -y blockpull python3-blockpull libblockpull-nbd0 libblockpull0
[ ! -e /usr/bin/blockpull ] && [ -z "$(ls -d /usr/share/doc/libblockpull* 2>/dev/null)" ]
echo "ok removed again"
