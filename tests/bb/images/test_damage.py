# SPDX-License-Identifier: MIT OR Apache-2.0
"""Damaged tables: check must see what qemu-img check sees, and pull must not touch what is corrupt.

One table entry of a small image is bent at a time: a refcount, an L1 or L2 entry, a COPIED flag.
For most of these the content still reads well, so a pull that writes first and looks later would
turn a repairable image into a lost one: allocation by a wrong refcount overwrites live clusters.
Images that only leak, or whose COPIED flags are clear without need, are mended by the pull, which
must succeed, keep the content and leave nothing to be found.
"""
import os
import random
import shutil
import struct
import time

import harness
import images
from harness import CORRUPT, DONE, FAILED, KIB, LEAKS, MIB, REFUSED, bp, case, check, note, same
from images import Untouched, overlay, qemu_img, qemu_io, raw_image

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
ROUNDS = int(os.environ.get('BB_ROUNDS', '12'))
VERDICT = {0: DONE, 2: CORRUPT, 3: LEAKS}


def be64_at(path, offset):
    with open(path, 'rb') as file:
        file.seek(offset)
        return struct.unpack('>Q', file.read(8))[0]


def damage_qcow2(path, cluster, rng):
    """Bends one table entry, found from the header's published fields. Returns what was done."""
    offset_mask = 0x00fffffffffffe00
    l1 = be64_at(path, 40)
    block = be64_at(path, be64_at(path, 48)) & offset_mask
    l2 = be64_at(path, l1) & offset_mask
    n_clusters = os.path.getsize(path) // cluster
    kind = rng.choice(['refcount', 'refcount', 'l2', 'l2', 'l1', 'copied'])
    if kind == 'refcount':
        index, value = rng.randrange(n_clusters), rng.choice([0, 2, 5])
        images.patch(path, block + 2 * index, struct.pack('>H', value))
        return f'refcount of cluster {index} of {n_clusters} := {value}'
    if kind == 'l1':
        value = rng.choice([0, be64_at(path, l1) ^ 1 << 63, be64_at(path, l1) + cluster, 1 << 40 | 1 << 63])
        images.patch(path, l1, struct.pack('>Q', value))
        return f'L1[0] := {value:#x}'
    used = [i for i in range(min(cluster // 8, 1024)) if be64_at(path, l2 + 8 * i)]
    index = rng.choice(used)
    old = be64_at(path, l2 + 8 * index)
    if kind == 'copied':
        value = old ^ 1 << 63
    else:
        value = rng.choice([0, be64_at(path, l2 + 8 * rng.choice(used)), old & ~offset_mask | 1 << 40,
                            old & ~offset_mask | l1, old + 512, old + cluster])
    images.patch(path, l2 + 8 * index, struct.pack('>Q', value))
    return f'L2[{index}] was {old:#x} := {value:#x}'


def damage_qed(path, cluster, rng):
    with open(path, 'rb') as file:
        l1, = struct.unpack('<Q', file.read(48)[40:])
        file.seek(l1)
        l2, = struct.unpack('<Q', file.read(8))
        file.seek(l2)
        entries = struct.unpack(f'<{cluster // 8}Q', file.read(cluster))
    used = [i for i, e in enumerate(entries) if e > 1]
    index = rng.choice(used)
    value = rng.choice([0, 1, entries[rng.choice(used)], 1 << 40, entries[index] + 512])
    images.patch(path, l2 + 8 * index, struct.pack('<Q', value))
    return f'L2[{index}] was {entries[index]:#x} := {value:#x}'


@case('check agrees with qemu-img check, and pull refuses what is corrupt: qcow2', 'qcow2', damage_qcow2)
@case('check agrees with qemu-img check, and pull refuses what is corrupt: QED', 'qed', damage_qed)
def damaged(d, fmt, damage):
    note(f'BB_SEED={SEED}')
    rng = random.Random(SEED)
    base = raw_image(f'{d}/base.img', 8 * MIB, (0, 3 * MIB))
    base_before, seen = Untouched(base), set()
    for cluster in 4 * KIB, 64 * KIB:
        pristine = overlay(f'{d}/pristine{cluster}', 'base.img', fmt, f'cluster_size={cluster}')
        qemu_io(pristine, fmt, 'write -P 1 0 300k', 'write -P 2 500k 100k', 'write -z 1M 64k')
        for _ in range(ROUNDS):
            path = shutil.copy(pristine, f'{d}/damaged')
            what = f'{cluster}, {damage(path, cluster, rng)}'
            seen.add(judge(d, path, fmt, what))
    base_before.verify()
    check(len(seen) > 1 and CORRUPT in seen, f'the damage was too uniform: verdicts {seen}')


def is_stale(path):
    """Nothing worse than what a cut in the middle of a repair leaves."""
    findings = bp('check', '--json', path, rc=None).json().get('findings', [])
    return findings and all(f['kind'] == 'leak' or 'COPIED is clear, but' in f['text'] for f in findings)


def judge_repair(d, path, fmt, what):
    """All is well afterwards and the content is what it was, or nothing was touched."""
    flat = qemu_img('convert', '-f', fmt, '-O', 'raw', path, f'{d}/flat', rc=(0, 1))
    copy = shutil.copy(path, f'{d}/repaired')
    before = Untouched(copy)
    result = bp('check', '--repair=all', copy, rc=(DONE, CORRUPT))
    if result.rc == CORRUPT:
        check('Not repaired' in result.out, f'{what}: {result}')
        before.verify(f'although it is not repaired ({what})')
        return
    same(images.image_check(copy, fmt), 0, f'exit code of qemu-img check after the repair ({what})')
    if flat.rc == 0:
        images.compare_flat(copy, fmt, f'{d}/flat', f'by the repair ({what})')


def judge(d, path, fmt, what):
    before = Untouched(path)
    theirs = qemu_img('check', '-f', fmt, path, rc=(0, 1, 2, 3))
    ours = bp('check', path, rc=None)
    wanted = (VERDICT[theirs.rc],) if theirs.rc in VERDICT else (CORRUPT, FAILED, REFUSED)
    check(ours.rc in wanted, f'{what}: {ours}\nbut {theirs}')
    check(ours.rc == DONE or (ours.out + ours.err).strip(), f'{what}, and not a word: {ours}')
    before.verify(f'by check ({what})')
    judge_repair(d, path, fmt, what)
    if ours.rc in (DONE, LEAKS) or is_stale(path):
        flat = images.flatten(path, fmt, f'{d}/flat')
        bp('pull', path)
        images.judge_pulled(path, fmt, flat)
    else:
        refusal = bp('pull', path, rc=wanted)
        check('damaged' in refusal.err, f'no sentence that names the file: {refusal}')
        before.verify(f'by a pull that was refused ({what})')
    return ours.rc


if __name__ == '__main__':
    harness.main()
