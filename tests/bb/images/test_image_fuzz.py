# SPDX-License-Identifier: MIT OR Apache-2.0
"""Random images with a random few of their fields set to values at the limits, as QEMU's image-fuzzer does it.

An image is made by hostile_qcow2.py or hostile_qed.py, with snapshots, bitmaps, subclusters and compressed
clusters, and then bent in one to four places. No list says beforehand what is right; what must hold is:
no crash, no hang, no more memory; refused, it is as it was, byte for byte; pulled, QEMU finds it clean and reads
what it read before. BB_FIRST_SEED=N begins with seed N, BB_SEEDS=N tries N of each kind. Flipping random bits was
rejected: most flips hit guest data, and few make a value that lies at a limit.
"""
import os
import random
import shutil
import struct

import harness
import hostile_qcow2
import hostile_qed
import images
from harness import CORRUPT, DONE, FAILED, KIB, MIB, REFUSED, Failed, case, check, note, run, same
from hostile_qcow2 import BASE, COMPRESSED, COPIED, ZERO, Qcow2
from hostile_qed import BACKING, NEED_CHECK, NO_PROBE, Qed
from images import Untouched
from test_hostile import command

SEEDS = 20


def limits(rng, bits, near):
    """A value for a field of so many bits; near: values that mean something in this image."""
    top = (1 << bits) - 1
    choice = rng.randrange(6)
    if choice == 0:
        return rng.choice([0, 1, 2, 3, 7, 8, 9, 255, 256, 511, 512, 513, 1023, 1024, 4095, 4096, 65535, 65536]) & top
    if choice == 1:
        return rng.choice([top, top - 1, top >> 1, (top >> 1) + 1, top - 511, top - 7, top - 65535]) & top
    if choice == 2:
        return (1 << rng.randrange(bits)) + rng.choice([-1, 0, 1]) & top
    if choice == 3:
        return rng.getrandbits(rng.randrange(1, bits + 1))
    return rng.choice(near) + rng.choice([0, 0, 0, 0, 1, -1, 8, 512, -512]) & top


def qcow2(rng, bits):
    sub = bits >= 14 and rng.random() < 0.3
    version = 3 if sub else rng.choice([2, 3, 3, 3])
    q = Qcow2(bits, size=rng.choice([256 * KIB, 200 * KIB, MIB, 3 << (2 * bits - 4)] if bits > 9 else [256 * KIB, 100 * KIB]),
              version=version, order=4 if version == 2 else rng.choice([4, 4, 4, 0, 1, 3, 5, 6]), sub=sub)
    n = -(-q.size // q.cluster)
    for number in rng.sample(range(min(n, 200)), min(n, rng.randrange(1, 12))):
        kind = rng.randrange(5)
        if kind == 0 and version == 3 and not sub:
            q.zero(number)
        elif kind == 1:
            q.packed(number)
        else:
            q.data(number)
    if rng.random() < 0.3 and q.order > 0:
        q.snapshots(*[q.snapshot(id=b'%d' % i, name=b'n') for i in range(1 if q.order < 2 else rng.choice([1, 1, 2]))])
    if rng.random() < 0.2 and version == 3 and bits > 9:
        q.bitmap()
    if rng.random() < 0.3:
        q.set(incompat=1 | (16 if sub else 0)) if version == 3 else None
    return q


def bend_qcow2(rng, q):
    """What was done, in words."""
    near = [0, q.cluster, q.rt_off, q.l1_off, q.blocks[0], q.end, q.end - q.cluster, q.size, q.l1_size, COPIED, ZERO, COMPRESSED]
    near += list(q.l2_off.values()) + [h for h in q.host.values()] + [h | COPIED for h in q.host.values()]
    near += [o | COPIED for o in q.l2_off.values()]
    if 'snapshots_off' in q.fields:
        near += [q.fields['snapshots_off'], q.snapshot_l1]
    kind = rng.randrange(8)
    if kind <= 1:
        names = [n for n, (off, _) in hostile_qcow2.FIELDS.items() if (q.version == 3 or off < 72) and n != 'magic']
        name = rng.choice(names)
        value = limits(rng, {'I': 32, 'Q': 64, 'B': 8}[hostile_qcow2.FIELDS[name][1]], near)
        q.patches.append((hostile_qcow2.FIELDS[name][0], struct.pack('>' + hostile_qcow2.FIELDS[name][1], value)))
        return f'{name} = {value:#x}'
    if kind == 2:
        at, value = rng.randrange(q.l1_size + 1), limits(rng, 64, near)
        q.patches.append((q.at_l1(at), struct.pack('>Q', value)))
        return f'L1[{at}] = {value:#x}'
    if kind <= 4 and q.l2_off:
        off, at, value = rng.choice(list(q.l2_off.values())), 8 * rng.choice([rng.randrange(16), rng.randrange(q.cluster // 8)]), limits(rng, 64, near)
        q.patches.append((off + at, struct.pack('>Q', value)))
        return f'L2 table {off:#x} + {at} = {value:#x}'
    if kind == 5:
        at, value = rng.choice([0, 0, 1, rng.randrange(q.cluster // 8)]), limits(rng, 64, near)
        q.patches.append((q.rt_off + 8 * at, struct.pack('>Q', value)))
        return f'refcount table[{at}] = {value:#x}'
    if kind == 6:
        number, value = rng.randrange((q.end >> q.bits) + 1), rng.choice([0, 0, 1, 2, 3, 255, 65535, (1 << 64) - 1])
        q.counts[number] = value
        return f'refcount[{number}] = {value}'
    if 'snapshots_off' in q.fields and rng.random() < 0.5:
        off = rng.choice([q.fields['snapshots_off'], q.snapshot_l1]) + 4 * rng.randrange(16)
    elif rng.random() < 0.5:
        off = rng.randrange(72, 240) & ~3
    else:
        q.length = rng.choice([q.end - rng.randrange(1, q.cluster), rng.randrange(q.end), q.end + rng.randrange(MIB), q.end + (1 << 36)])
        return f'length {q.length}'
    value = limits(rng, 32, near)
    q.patches.append((off, struct.pack('>I', value)))
    return f'byte {off:#x} = {value:#x}'


def qed(rng):
    q = Qed(cluster=rng.choice([4, 4, 16]) * KIB, tables=rng.choice([2, 2, 4]), size=rng.choice([MIB, 8 * MIB, 6 * MIB + 512]),
            features=BACKING | NO_PROBE | rng.choice([0, 0, NEED_CHECK]))
    n = -(-q.size // q.cluster)
    for number in rng.sample(range(n), rng.randrange(1, 12)):
        q.zero(number) if rng.random() < 0.3 else q.data(number)
    return q


def bend_qed(rng, q):
    near = [0, 1, q.cluster, q.l1_off, q.end, q.end - q.cluster, q.size] + list(q.l2_off.values()) + list(q.host.values())
    kind = rng.randrange(5)
    if kind == 0:
        name = rng.choice([n for n in hostile_qed.FIELDS if n != 'magic'])
        value = limits(rng, {'I': 32, 'Q': 64}[hostile_qed.FIELDS[name][1]], near)
        q.patches.append((hostile_qed.FIELDS[name][0], struct.pack('<' + hostile_qed.FIELDS[name][1], value)))
        return f'{name} = {value:#x}'
    if kind == 4:
        q.length = rng.choice([q.end - rng.randrange(1, q.cluster), rng.randrange(q.end), q.end + rng.randrange(MIB)])
        return f'length {q.length}'
    off = q.l1_off if kind == 1 or not q.l2_off else rng.choice(list(q.l2_off.values()))
    at, value = 8 * rng.choice([rng.randrange(8), rng.randrange(q.entries)]), limits(rng, 64, near)
    q.patches.append((off + at, struct.pack('<Q', value)))
    return f'table {off:#x} + {at} = {value:#x}'


def judge_pulled(d, fmt):
    """orig.img is the image as it was; QEMU reads it beside the same base."""
    flat = f'{d}/flat'
    read = run('qemu-img', 'convert', '-U', '-f', fmt, '-O', 'raw', f'{d}/orig.img', flat, timeout=30).rc == 0
    if read:
        images.judge_pulled(f'{d}/top.img', fmt, flat)
        return 'pulled'
    opened = run('qemu-img', 'check', '-f', fmt, f'{d}/orig.img').rc in (0, 3)
    if opened:
        same(images.image_check(f'{d}/top.img', fmt), 0, 'exit code of qemu-img check after the pull')
    return 'pulled, which QEMU could not read'


def attempt(d, fmt, image):
    image.save(f'{d}/top.img')
    with open(f'{d}/base.img', 'wb') as file:
        file.write(BASE)
    image.save(f'{d}/orig.img')
    before = Untouched(f'{d}/top.img', f'{d}/base.img')
    command(d, 'check', 'top.img')
    before.verify('by check')
    result = command(d, 'pull', 'top.img')
    check(result.rc in (DONE, FAILED, CORRUPT, REFUSED), f'neither done nor refused: {result}')
    if result.rc:
        before.verify(f'although it was refused: {result}')
        return f'refused ({result.rc})'
    del before.files[f'{d}/top.img']
    before.verify('beside the image')
    if 'nothing to pull' in result.err:
        return 'nothing to pull'
    return judge_pulled(d, fmt)


def attempt_base(d, image):
    """A sound overlay over the bent image, which is base.img. Only what decoding finds may stop a pull half way."""
    image.backing = None
    image.exts = [e for e in image.exts if e[0] != hostile_qcow2.FMT]
    image.save(f'{d}/base.img')
    top = Qcow2(16, size=256 * KIB, fmt=b'qcow2')
    top.data(1)
    top.save(f'{d}/top.img')
    top.save(f'{d}/orig.img')
    before = Untouched(f'{d}/top.img', f'{d}/base.img')
    result = command(d, 'pull', 'top.img')
    check(result.rc in (DONE, FAILED, CORRUPT, REFUSED), f'neither done nor refused: {result}')
    if result.rc == CORRUPT and 'what was copied is kept' in result.err:  # garbage, compressed
        check('does not decode' in result.err, str(result))
        del before.files[f'{d}/top.img']
        before.verify('beside the image')
        same(images.image_info(f'{d}/top.img').get('backing-filename'), 'base.img', 'the link')
        return 'stopped'
    if result.rc:
        before.verify(f'although it was refused: {result}')
        return f'refused ({result.rc})'
    del before.files[f'{d}/top.img']
    before.verify('beside the image')
    return judge_pulled(d, 'qcow2')


@case('a base of 512 bytes a cluster', 'base', 9)
@case('a base of 4 KiB a cluster', 'base', 12)
@case('a base of 64 KiB a cluster', 'base', 16)
@case('qcow2, clusters of 512 bytes', 'qcow2', 9)
@case('qcow2, clusters of 4 KiB', 'qcow2', 12)
@case('qcow2, clusters of 64 KiB', 'qcow2', 16)
@case('QED', 'qed', 0)
def fuzz(d, fmt, bits):
    first, n = int(os.environ.get('BB_FIRST_SEED', '1')), int(os.environ.get('BB_SEEDS', SEEDS))
    broken, seen = [], {}
    for seed in range(first, first + n):
        rng = random.Random(f'{fmt} {bits} {seed}')
        image = qed(rng) if fmt == 'qed' else qcow2(rng, bits)
        done = [(bend_qed if fmt == 'qed' else bend_qcow2)(rng, image) for _ in range(rng.choice([1, 1, 2, 4]))]
        place = f'{d}/{seed}'
        os.mkdir(place)
        try:
            verdict = attempt_base(place, image) if fmt == 'base' else attempt(place, fmt, image)
            seen[verdict] = seen.get(verdict, 0) + 1
        except Failed as error:
            broken.append(f'BB_FIRST_SEED={seed} BB_SEEDS=1, {fmt} {bits}: {"; ".join(done)}: {error}')
        shutil.rmtree(place)
    note(f'seeds {first} to {first + n - 1}: {seen}')
    if broken:
        raise Failed(f'{len(broken)} of {n}:\n' + '\n'.join(broken))


if __name__ == '__main__':
    harness.main(workers=2)
