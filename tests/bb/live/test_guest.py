# SPDX-License-Identifier: MIT OR Apache-2.0
"""A guest at work while its disk is pulled: random requests by tests/api/guest_driver.c on images that
QEMU's tools made, judged by QEMU's tools.

The driver checks every read against a flat copy of the disk; here the image that it leaves must
hold that copy, be consistent without a leak, keep each internal snapshot, and, pulled to the end,
need its chain no more.
"""
import os
import random

import harness
import images
from harness import KIB, MIB, Skip, case, check, note, same
from images import image_check, image_info, qemu_img, qemu_io, raw_image

SIZE = 3 * MIB
N_OPS = int(os.environ.get('BB_GUEST_OPS', '150'))
N_SEEDS = int(os.environ.get('BB_SEEDS', '1'))
FIRST = int(os.environ.get('BB_FIRST_SEED', '1'))


def driver():
    return os.path.join(os.path.dirname(os.path.dirname(harness.blockpull)), 'tests', 'guest_driver')


def base_image(rng, path):
    """Data, zeros and holes; it may end before the disk, inside a sector."""
    raw_image(path, SIZE - rng.choice([0, 512, 100000, 1]), *(
        (at, 64 * KIB) for at in range(0, SIZE - 200 * KIB, 64 * KIB) if rng.random() < 0.7))
    return path


def own_writes(rng, path, fmt, n):
    """In one session: to start qemu-io takes longer than what it does here."""
    commands = []
    for _ in range(n):
        at, length = rng.randrange(SIZE - 200 * KIB) // 512 * 512, rng.randrange(1, 200) * 512
        kind = rng.random()
        command = f'write -P {rng.randrange(1, 256)}' if kind < 0.7 else 'write -z' if kind < 0.85 else 'discard'
        if fmt == 'qed' and kind >= 0.85:
            continue
        commands.append(f'{command} {at} {length}')
    if commands:
        qemu_io(path, fmt, *commands)


def compressed_clusters(rng, path, cluster):
    qemu_io(path, 'qcow2', *(f'write -c -P {rng.randrange(256)} {index * cluster} {cluster}'
                             for index in rng.sample(range(SIZE // cluster - 1), 8)))


def guest(d, seed, fmt, options, words, snapshots=False, compressed=0, middle=False):
    rng = random.Random(seed)
    base = base_image(rng, f'{d}/base.img')
    below, below_fmt = base, 'raw'
    if middle:
        below, below_fmt = images.overlay(f'{d}/middle.img', 'base.img', size=SIZE), 'qcow2'
        own_writes(rng, below, 'qcow2', 4)
    top = images.overlay(f'{d}/top.img', os.path.basename(below), fmt, options, below_fmt, size=SIZE)
    if compressed:
        compressed_clusters(rng, top, compressed)
    own_writes(rng, top, fmt, 5)
    kept = []
    for name in ('one', 'two') if snapshots else ():
        qemu_img('snapshot', '-c', name, top)
        qemu_img('convert', '-f', fmt, '-O', 'raw', '-l', f'snapshot.name={name}', top, f'{d}/{name}')
        kept.append(name)
        own_writes(rng, top, fmt, 3)
    flat = images.flatten(top, fmt, f'{d}/flat')
    command = [driver(), top, fmt, flat, str(seed), str(N_OPS), *words]
    result = harness.run(*command, timeout=300)
    check(result.rc == 0, f'seed {seed}: {result}')
    same(image_check(top, fmt), 0, f'seed {seed}: qemu-img check')
    images.compare_flat(top, fmt, flat, f'seed {seed}')
    for name in kept:
        qemu_img('convert', '-f', fmt, '-O', 'raw', '-l', f'snapshot.name={name}', top, f'{d}/{name}.after')
        check(images.digest(f'{d}/{name}') == images.digest(f'{d}/{name}.after'), f'seed {seed}: snapshot {name} changed')
    if 'pull' in words and 'abort' not in words:
        check('backing-filename' not in image_info(top), f'seed {seed}: the link is there')
        os.rename(base, base + '.gone')
        images.compare_flat(top, fmt, flat, f'seed {seed}, without its base')


KINDS = [
    ('qcow2', 'qcow2', None, {}),
    ('qcow2, 512-byte clusters', 'qcow2', 'cluster_size=512', {}),
    ('qcow2, 2 MiB clusters', 'qcow2', 'cluster_size=2M', {'middle': True}),
    ('qcow2 v2', 'qcow2', 'compat=0.10,cluster_size=4k', {'middle': True}),
    ('qcow2, subclusters', 'qcow2', 'extended_l2=on,cluster_size=16k', {'middle': True}),
    ('qcow2, refcounts of a bit', 'qcow2', 'refcount_bits=1,cluster_size=2k', {}),
    ('qcow2, refcounts of 64 bits', 'qcow2', 'refcount_bits=64,cluster_size=1k', {}),
    ('qcow2, a data file', 'qcow2', 'data_file=data.img', {}),
    ('qcow2, compressed clusters', 'qcow2', 'cluster_size=16k', {'compressed': 16 * KIB}),
    ('qcow2, compressed with zstd', 'qcow2', 'cluster_size=64k,compression_type=zstd', {'compressed': 64 * KIB}),
    ('qcow2, snapshots', 'qcow2', 'cluster_size=4k', {'snapshots': True}),
    ('qcow2, snapshots and compressed clusters', 'qcow2', 'cluster_size=8k', {'snapshots': True, 'compressed': 8 * KIB}),
    ('qcow2, snapshots and subclusters', 'qcow2', 'extended_l2=on,cluster_size=16k', {'snapshots': True}),
    ('QED', 'qed', None, {'middle': True}),
    ('QED, 4 KiB clusters', 'qed', 'cluster_size=4k,table_size=2', {}),
]
WAYS = [('pull',), ('pull', 'cor', 'poll'), ('cor',), ('pull', 'abort', 'threads'), ('pull', 'cor', 'threads', 'poll')]


def every_way(d, fmt, options, more):
    for seed in range(FIRST, FIRST + N_SEEDS):
        for number, words in enumerate(WAYS):
            place = f'{d}/{seed}-{number}'
            os.mkdir(place)
            local = options.replace('data.img', f'{place}/data.img') if options else None
            guest(place, seed * 100 + number, fmt, local, words, **more)
    note(f'{N_SEEDS} seeds from {FIRST}, {len(WAYS)} ways each, {N_OPS} requests')


for title, kind_fmt, kind_options, kind_more in KINDS:
    case(title, kind_fmt, kind_options, kind_more)(lambda d, f, o, m: every_way(d, f, o, m))


@case('threads that wait for their calls, and one that steers the job', 'qcow2', 'cluster_size=4k', ())
@case('threads that wait for their calls, without io_uring', 'qcow2', None, ('threads',))
@case('threads that wait for their calls, on QED', 'qed', None, ())
def threads(d, fmt, options, words):
    rng = random.Random(1)
    base_image(rng, f'{d}/base.img')
    top = images.overlay(f'{d}/top.img', 'base.img', fmt, options, size=SIZE)
    own_writes(rng, top, fmt, 5)
    flat = images.flatten(top, fmt, f'{d}/flat')
    command = os.path.join(os.path.dirname(driver()), 'thread_driver')
    result = harness.run(command, top, fmt, flat, '1', str(N_OPS), *words, timeout=120)
    check(result.rc == 0, str(result))
    same(image_check(top, fmt), 0, 'qemu-img check')
    images.compare_flat(top, fmt, flat)
    check('backing-filename' not in image_info(top), 'the link is there')


@case('a raw disk that is used')
def raw(d):
    flat = raw_image(f'{d}/flat', SIZE)
    top = raw_image(f'{d}/top.img', 0)
    with open(flat, 'rb') as source, open(top, 'wb') as target:
        target.write(source.read())
    for words in ((), ('threads',)):
        result = harness.run(driver(), top, 'raw', flat, '3', str(N_OPS), *words)
        check(result.rc == 0, str(result))
        images.compare_flat(top, 'raw', flat)


@case('a raw disk must be named so')
def raw_unnamed(d):
    flat, top = raw_image(f'{d}/flat', MIB), raw_image(f'{d}/top.img', MIB)
    result = harness.run(driver(), top, 'unknown', flat, '3', '1')
    check(result.rc == 1 and 'name its format' in result.err, str(result))


@case('bitmaps: their validity is taken back by the first write, not by looking')
def bitmaps(d):
    base = raw_image(f'{d}/base.img', SIZE)
    top = images.overlay(f'{d}/top.img', os.path.basename(base))
    qemu_img('bitmap', '--add', top, 'b0')

    def autoclear():
        with open(top, 'rb') as file:
            return file.read(96)[95] & 1
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    same(autoclear(), 1, 'the bit before')
    same(harness.run(driver(), top, 'qcow2', flat, '1', '0', 'pull').rc, 0, 'no requests')
    same(autoclear(), 1, 'the bit after a pull and reads')
    result = harness.run(driver(), top, 'qcow2', flat, '1', '100')
    check(result.rc == 0, str(result))
    same(autoclear(), 0, 'the bit after writes')
    images.compare_flat(top, 'qcow2', flat)


if __name__ == '__main__':
    if not os.path.exists('/proc/self'):
        raise Skip('no /proc')
    harness.main(workers=2)
