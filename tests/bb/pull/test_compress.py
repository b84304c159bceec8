# SPDX-License-Identifier: MIT OR Apache-2.0
"""pull --compress: what is copied is written compressed, and QEMU is content with it.

Space inside a host cluster is shared, so the refcounts' width, the clusters' length and what will
not shrink are varied against each other. qemu-img check counts every reference; compare decodes
every byte with QEMU's own window of 4 KiB.
"""
import os
import random
import signal
import time

import harness
import images
import reach
from chains import Chain
from harness import DONE, KIB, MIB, REFUSED, USAGE, bp, case, check, field, note, refused, same
from images import Untouched, image_check, overlay, qemu_img

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
KILLS = int(os.environ.get('BB_KILLS', '3'))


def text(rng, length):
    words = [bytes(rng.choices(b'abcdefghij \n', k=rng.randint(2, 9))) for _ in range(200)]
    out = b''.join(rng.choices(words, k=length // 3))
    return (out * 2)[:length]


def far_repeats(rng, length):
    """Random bytes that come again 5 to 32 KiB later: worth nothing to a reader with a small window."""
    out = bytearray()
    while len(out) < length:
        out += rng.randbytes(rng.randint(5, 30) * KIB) * 4
    return bytes(out[:length])


def mixed(rng, length):
    """Half of each cluster of 4 KiB and up is text."""
    return b''.join(rng.randbytes(4 * KIB) + text(rng, 4 * KIB) if at % 3 else rng.randbytes(8 * KIB)
                    for at in range(length // (8 * KIB)))


def content(path, seed=1, unit=MIB):
    """A bit of everything, zeros and holes too; its length ends inside a cluster."""
    rng = random.Random(seed)
    with open(path, 'wb') as file:
        for kind in text, mixed, None, far_repeats, text, random.Random.randbytes:
            if kind:  # in pieces: a child's peak of memory begins with this process's
                for _ in range(unit // (64 * KIB)):
                    file.write(kind(rng, 64 * KIB))
            else:
                file.write(bytes(unit // 2))
                file.seek(unit // 2, os.SEEK_CUR)
        file.write(text(rng, 13 * KIB + 512))
    return path


def n_compressed(path):
    return images.json.loads(qemu_img('check', '-f', 'qcow2', '--output=json', path, rc=(0, 3)).out) \
        .get('compressed-clusters', 0)


def disk_bytes(path):
    return os.stat(path).st_blocks * 512


TYPES = ['zlib', 'zlib:1', 'zlib:9', 'zstd', 'zstd:1', 'zstd:19', '']


@case('clusters of 512 bytes', 512, TYPES[:1] + TYPES[3:4] + TYPES[:1] + TYPES[3:4], 0, 0)
@case('clusters of 1 KiB', 1 * KIB, TYPES, 1, 0.9)
@case('clusters of 4 KiB', 4 * KIB, TYPES, 2, 0.9)
@case('clusters of 64 KiB', 64 * KIB, TYPES, 3, 0.9)
@case('clusters of 2 MiB', 2 * MIB, TYPES[:1] + TYPES[2:5], 0, 0.95)
def matrix(d, cluster, types, turn, ratio):
    flat = content(f'{d}/base.img')
    plain = {}  # bytes of an image that was pulled without compression, by the width
    for index, kind in enumerate(types):
        # Each length of clusters has every width, and, of the three that have all types, each type has three of them.
        bits = (1, 2, 16, 64)[(index + turn) % 4]
        top = f'{d}/top.img'
        options = f'cluster_size={cluster},refcount_bits={bits}'
        overlay(top, 'base.img', options=options)
        what = f'{cluster} {bits} {kind}'
        bp('pull', '--compress' + ('=' + kind if kind else ''), '--io=' + ('auto', 'threads')[(index // 2 + turn) % 2], top)
        info = images.judge_pulled(top, 'qcow2', flat)
        wanted = 'zstd' if kind.startswith('zstd') else 'zlib'
        same(info['format-specific']['data']['compression-type'], wanted, what)
        n_found = n_compressed(top)
        check(bool(n_found) == (cluster > 512), f'{what}: {n_found} compressed clusters')
        if bits > 1 and ratio:
            if bits not in plain:
                overlay(f'{d}/plain.img', 'base.img', options=options)
                bp('pull', f'{d}/plain.img')
                plain[bits] = os.path.getsize(f'{d}/plain.img')
                os.unlink(f'{d}/plain.img')
            check(os.path.getsize(top) < ratio * plain[bits], f'{what}: {os.path.getsize(top)} of {plain[bits]} bytes')
        os.unlink(top)


@case('text shrinks to less than half')
def shrinks(d):
    with open(f'{d}/base.img', 'wb') as file:
        for number in range(128):
            file.write(text(random.Random(number), 64 * KIB))
    for kind in 'zlib', 'zstd':
        overlay(f'{d}/top.img', 'base.img')
        bp('pull', f'--compress={kind}', f'{d}/top.img')
        check(disk_bytes(f'{d}/top.img') < 4.4 * MIB, f'{kind}: {disk_bytes(f"{d}/top.img")}')
        # Sectors are lost to alignment, nothing more.
        qemu_img('convert', '-c', '-O', 'qcow2', '-o', f'compression_type={kind}', f'{d}/base.img', f'{d}/ref.img')
        check(disk_bytes(f'{d}/top.img') < 1.15 * disk_bytes(f'{d}/ref.img') + 128 * KIB,
              f'{kind}: {disk_bytes(f"{d}/top.img")}, qemu-img convert -c: {disk_bytes(f"{d}/ref.img")}')
        os.unlink(f'{d}/top.img')


@case('version 2: zlib, and never zstd')
def version_2(d):
    flat = content(f'{d}/base.img', unit=256 * KIB)
    top = overlay(f'{d}/top.img', 'base.img', options='compat=0.10')
    images.refused_unchanged(REFUSED, ['top.img', 'version 2'], top, flat, '--compress=zstd')
    bp('pull', '--compress=zlib:3', top)
    images.judge_pulled(top, 'qcow2', flat)
    check(n_compressed(top), 'nothing is compressed')


@case('refused, and nothing is written')
def refusals(d):
    flat = content(f'{d}/base.img', unit=64 * KIB)
    top = overlay(f'{d}/top.img', 'base.img', 'qed')
    images.refused_unchanged(REFUSED, ['top.img', 'qed'], top, flat, '--compress')
    images.refused_unchanged(REFUSED, ['top.img', 'qed'], top, flat, '--compress', '--dry-run')
    os.unlink(top)
    overlay(top, 'base.img', options=f'data_file={d}/data.img')
    images.refused_unchanged(REFUSED, ['top.img', 'data file'], top, flat, '--compress')
    os.unlink(top)
    for own, other in ('zlib', 'zstd'), ('zstd', 'zlib'):
        overlay(top, 'base.img', options=f'compression_type={own}')
        images.qemu_io(top, 'qcow2', 'write -c -P 3 0 64k')
        for more in (), ('--dry-run',):
            images.refused_unchanged(REFUSED, ['top.img', own, other], top, flat, f'--compress={other}', *more)
        images.pulled(top, 'qcow2', '--compress')
        check(n_compressed(top) > 1, 'nothing was compressed')
        os.unlink(top)
    # A header without room for the type: the shortest there is.
    overlay(top, 'base.img')
    with open(top, 'rb') as file:
        names = file.read(1024)
    check(int.from_bytes(names[100:104], 'big') == 112, 'qemu-img makes other headers now')
    images.patch(top, 100, (104).to_bytes(4, 'big') + names[112:528] + bytes(8))
    images.refused_unchanged(REFUSED, ['top.img', '104 bytes'], top, flat, '--compress=zstd')
    images.pulled(top, 'qcow2', '--compress=zlib')


@case('typing errors are said with a hint')
def typos(d):
    top, base = images.pair(d)
    before = Untouched(top, base)
    for value, words in (('zlip', ['zlib']), ('zst', ['zstd']), ('lzo', ['zlib', 'zstd']), ('', ['zlib']),
                         ('zlib:0', ['1 to 9']), ('zlib:10', ['1 to 9']), ('zstd:20', ['1 to 19']),
                         ('zstd:', ['1 to 19']), ('zstd:3x', ['1 to 19']), ('zlib:-1', ['1 to 9'])):
        refused(USAGE, ['--compress', *words], 'pull', f'--compress={value}', top)
    refused(USAGE, ['--compress'], 'pull', '--compres=zlib:x', top)
    refused(USAGE, ['--compress'], 'pull', '--comprses', top)
    before.verify()


@case('a compressed base into a compressed overlay', 'zlib', 'zstd')
@case('a compressed base into a compressed overlay, the other way round', 'zstd', 'zlib')
def recompress(d, below, above):
    content(f'{d}/raw.img', unit=512 * KIB)
    for cluster in 4 * KIB, 64 * KIB, 2 * MIB:
        qemu_img('convert', '-c', '-O', 'qcow2', '-o', f'compression_type={below},cluster_size={cluster}',
                 f'{d}/raw.img', f'{d}/base.img')
        for own in 4 * KIB, 64 * KIB, 2 * MIB:
            top = overlay(f'{d}/top.img', 'base.img', options=f'cluster_size={own}', base_fmt='qcow2')
            images.qemu_io(top, 'qcow2', 'write -P 9 70k 200k', 'write -z 1M 100k')
            images.pulled(top, 'qcow2', f'--compress={above}')
            check(n_compressed(top), 'nothing is compressed')
            os.unlink(top)


@case('the image goes on in use: rewritten, and compressed clusters freed')
def goes_on(d):
    for cluster, bits in (4 * KIB, 2), (64 * KIB, 16), (2 * MIB, 4):
        flat = content(f'{d}/base.img', unit=512 * KIB)
        top = overlay(f'{d}/top.img', 'base.img', options=f'cluster_size={cluster},refcount_bits={bits}')
        bp('pull', '--compress=zstd', top)
        size = os.path.getsize(flat)
        rng = random.Random(cluster)
        for _ in range(4):  # opened anew four times
            commands = []
            for _ in range(5):
                start = rng.randrange(0, size - 70000, 512)
                commands.append(f'write -P {rng.randint(1, 255)} {start} {rng.randrange(512, 66048, 512)}')
            images.qemu_io(top, 'qcow2', *commands)
            images.qemu_io(flat, 'raw', *commands)
        images.judge_pulled(top, 'qcow2', flat)
        os.unlink(top)


@case('compressed in two pulls: the second goes on behind the first', ())
@case('compressed in two pulls, by threads', ('--io=threads',))
def in_two(d, args):
    flat = content(f'{d}/base.img', unit=2 * MIB)
    top = overlay(f'{d}/top.img', 'base.img', options='cluster_size=16k,refcount_bits=4')
    pull = harness.start(harness.blockpull, 'pull', '--compress=zstd', '--bandwidth=4M', '--progress=json', *args, top)
    check(harness.lines_of(pull, lambda line: field(line, 'bytes', 'copied') > MIB), 'it ended at once')
    os.kill(pull.pid, signal.SIGINT)
    same(harness.finish(pull, 20).rc, 128 + signal.SIGINT, 'exit code')
    same(image_check(top, 'qcow2'), 0, 'exit code of qemu-img check after a clean stop')
    first = n_compressed(top)
    check(first, 'nothing compressed was kept')
    bp('pull', '--compress', *args, top)  # zstd is its own type now
    images.judge_pulled(top, 'qcow2', flat)
    check(n_compressed(top) > first, 'nothing more was compressed')


@case('SIGKILL at random moments, then again', '64k', 16)
@case('SIGKILL at random moments, narrow refcounts', '4k', 2)
@case('SIGKILL at random moments, large clusters', '2M', 16)
def killed(d, cluster, bits):
    note(f'BB_SEED={SEED}')
    rng = random.Random(SEED)
    flat = content(f'{d}/base.img', unit=2 * MIB)
    top = overlay(f'{d}/top.img', 'base.img', options=f'cluster_size={cluster},refcount_bits={bits}')
    with open(top, 'rb') as file:
        fresh = file.read()
    lasts = bp('pull', '--compress=zlib', top).seconds
    for count in range(KILLS):
        with open(top, 'wb') as file:
            file.write(fresh)
        moment = rng.uniform(0, lasts * 1.1)
        pull = harness.start(harness.blockpull, 'pull', '--compress=zlib', top)
        time.sleep(max(0, moment - (time.monotonic() - pull.began)))
        harness.kill(pull)
        result = harness.finish(pull)
        check(result.rc in (137, DONE), str(result))
        leaks = image_check(top, 'qcow2')
        check(leaks in (0, 3), f'corrupt after kill {count} at {moment:.4f} s')
        images.compare_flat(top, 'qcow2', flat, f'after kill {count}')
        bp('pull', '--compress', top)
        check(image_check(top, 'qcow2') in (0, leaks), f'after kill {count} and another pull')
        check('backing-filename' not in images.image_info(top), 'the link is still there')
        images.compare_flat(top, 'qcow2', flat, f'after kill {count} and another pull')


FULL_DISK = r'''
set -e
mount -t tmpfs -o size=64m none "$1/small"
cd "$1/small"
head -c $5 /dev/zero >ballast
qemu-img create -q -f qcow2 -o "cluster_size=$4" -b "$1/base.img" -F raw top.img
# Slow enough that a commit comes before the disk is full: the last one may find no room for its tables.
rc=0; "$2" pull --compress=zstd:1 --bandwidth=4M --io="$3" --allow-backing=any top.img 2>"$1/said" || rc=$?
cat "$1/said" >&2
[ $rc = 7 ] || { echo "exit code $rc, wanted 7"; exit 1; }
# Nothing leaks, but where no room was left for the tables either, and it says so: their counts may be there.
leaks=0
! grep -q 'as it was at the last commit' "$1/said" || leaks=3
rc=0; qemu-img check -q top.img 2>/dev/null || rc=$?
[ $rc = 0 ] || [ $rc = $leaks ] || { echo "qemu-img check $rc after the failure"; exit 1; }
qemu-img map --output=json top.img | grep -q '"depth": 0.*"data": true' || { echo 'nothing was kept'; exit 1; }
qemu-img compare -q -f qcow2 -F raw top.img "$1/base.img" || { echo 'content changed'; exit 1; }
rm ballast
"$2" pull --compress --io="$3" --allow-backing=any top.img
rc=0; qemu-img check -q top.img 2>/dev/null || rc=$?
[ $rc = 0 ] || { echo "qemu-img check $rc at last"; exit 1; }
mv "$1/base.img" "$1/away.img"
qemu-img compare -q -f qcow2 -F raw top.img "$1/away.img" || { echo 'content changed at last'; exit 1; }
cd /
umount "$1/small"
'''


@case('a full disk, then room again', 'auto', '64k', '56M')
@case('a full disk, then room again, threads', 'threads', '4k', '56M')
@case('a full disk, then room again, large clusters', 'auto', '2M', '46M')
def full_disk(d, io, cluster, ballast):
    namespace = reach.mounting(f'{d}/small')
    content(f'{d}/base.img', unit=5 * MIB)
    before = Untouched(f'{d}/base.img')
    result = harness.run(*namespace, 'sh', '-c', FULL_DISK, 'sh', d, harness.blockpull, io, cluster, ballast)
    check(result.rc == 0, str(result))
    os.rename(f'{d}/away.img', f'{d}/base.img')
    before.verify()


@case('memory stays bounded, with clusters of 2 MiB', 3)
@case('memory stays bounded, with clusters of 2 MiB and the slowest level', 19)
def memory(d, level):
    flat = content(f'{d}/base.img', unit=(6 if level < 10 else 3) * MIB)
    top = overlay(f'{d}/top.img', 'base.img', options='cluster_size=2M')
    result = bp('pull', f'--compress=zstd:{level}', top)
    note(f'{result.seconds:.2f} s, {result.max_rss / MIB:.1f} MiB')
    if not harness.instrumented():
        check(result.max_rss < 96 * MIB, f'{result.max_rss / MIB:.1f} MiB of memory')
    images.judge_pulled(top, 'qcow2', flat)


def random_chain(d, seed):
    chain = Chain(d, seed)
    top = chain.top
    rng = chain.rng
    flat = images.flatten(top.path, top.fmt, f'{d}/flat')
    kind = rng.choice(['', '', '=zlib', '=zlib:1', '=zstd', '=zstd:5'])
    untouched = Untouched(*(layer.path for layer in chain.layers[1:]))
    before = Untouched(top.path)
    result = bp('pull', f'--compress{kind}', *chain.args, top.path, rc=(DONE, REFUSED))
    untouched.verify('by the pull')
    if result.rc == REFUSED:  # QED; another type is in use; version 2
        before.verify('although it was refused')
        check(top.fmt == 'qed' or kind, f'{result}\n{chain}')
        bp('pull', *(() if top.fmt == 'qed' else ('--compress',)), *chain.args, top.path)
    images.judge_pulled(top.path, top.fmt, flat)


if __name__ == '__main__':
    for number in range(int(os.environ.get('BB_SEEDS', '4'))):
        harness.cases.append((f'random chain, seed {9000 + number}', random_chain, (9000 + number,)))
    harness.main(workers=2)
