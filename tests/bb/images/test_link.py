# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where a partial pull puts its new backing file's name, whatever the header looks like.

Headers as other writers might leave them: extensions in any order and of any length, with and without a
format's name or an end marker, the old name close behind them, far away or at the cluster's end, in
clusters of 512 bytes and more. What has no room is refused and unchanged. BB_FIRST_SEED=N begins with
seed N, BB_SEEDS=N tries so many.
"""
import os
import random
import shutil
import struct

import harness
import images
from harness import DONE, KIB, REFUSED, Failed, bp, case, check, note, same
from hostile_qcow2 import FMT, Qcow2
from images import Untouched, image_check, image_info

FIRST, SEEDS = 1, 24
CERTAIN = 100  # seeds of which one at least is refused: one in eight is


def header(rng, image, is_tight):
    """Bends the header's tail; what it needs is legal. Returns whether there is certainly room."""
    exts = [(FMT, b'qcow2')] if rng.random() < 0.7 else []
    lengths, n = ((40, 100), 3) if is_tight else ((0, 3, 8, 40, 100), rng.choice((0, 1, 1, 3)))
    exts += [(0x1000 + number, rng.randbytes(rng.choice(lengths))) for number in range(n)]
    rng.shuffle(exts)
    image.exts = exts
    used = 112 + sum(8 + -(-len(data) // 8) * 8 for _, data in exts)
    image.backing = b'./' * rng.choice((0, 0, 1, 20, 60)) + b'mid.img'
    if used + 8 + len(image.backing) > image.cluster:
        image.exts, used = [], 112
        image.backing = b'mid.img'
    ends = [used + 8, used + 8 + rng.randrange(64), image.cluster - len(image.backing)]
    image.name_at = rng.choice([at for at in ends if at + len(image.backing) <= image.cluster])
    if rng.random() < 0.3:  # the name's begin is the end of the extensions
        image.tail = b''.join(struct.pack('>II', kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in image.exts)
        image.name_at = used
    return image.cluster > 512 and used < 300


def attempt(d, seed):
    rng = random.Random(seed)
    is_tight = rng.random() < 0.2  # long names in small headers, which few draws would meet
    name = 'l' * (190 if is_tight else rng.choice((0, 0, 90, 190))) + '/base.img'
    name = name.lstrip('/')
    os.makedirs(os.path.dirname(f'{d}/{name}'), exist_ok=True)
    base, mid = Qcow2(12, size=256 * KIB, backing=None), Qcow2(12, size=256 * KIB, backing=name.encode(), fmt=b'qcow2')
    for number in 1, 5, 9:
        base.data(number)
    for number in 2, 5, 7:
        mid.data(number)
    base.save(f'{d}/{name}')
    mid.save(f'{d}/mid.img')
    top = Qcow2(9 if is_tight else rng.choice((9, 10, 12, 16)), size=256 * KIB, version=rng.choice((2, 3, 3)))
    top.data(3)
    room = header(rng, top, is_tight)
    top.save(f'{d}/top.img')
    same(image_check(f'{d}/top.img', 'qcow2'), 0, 'qemu-img check of the image as built')
    recorded = any(kind == FMT for kind, _ in top.exts)
    options = [] if recorded else ['--backing-format=qcow2']
    if not recorded:  # the judge wants it named
        shutil.copy(f'{d}/top.img', f'{d}/named.img')
        images.qemu_img('rebase', '-u', '-b', 'mid.img', '-F', 'qcow2', f'{d}/named.img')
    flat = images.flatten(f'{d}/top.img' if recorded else f'{d}/named.img', 'qcow2', f'{d}/flat')
    before = Untouched(f'{d}/top.img', f'{d}/mid.img', f'{d}/{name}')
    result = bp('pull', *options, '--base', f'{d}/{name}', f'{d}/top.img', rc=None)
    if result.rc == REFUSED and not room:
        check('room' in result.err, str(result))
        before.verify('although the pull was refused')
        return 'refused'
    same(result.rc, DONE, f'exit code: {result}')
    del before.files[f'{d}/top.img']
    before.verify('by the pull')
    info = image_info(f'{d}/top.img')
    same((info['backing-filename'], info['backing-filename-format']), (name, 'qcow2'), 'what is recorded')
    same(image_check(f'{d}/top.img', 'qcow2'), 0, 'qemu-img check after the pull')
    os.remove(f'{d}/mid.img')
    images.compare_flat(f'{d}/top.img', 'qcow2', flat, 'by the partial pull')
    # What else was in the header stays, for those who know it.
    for kind, data in top.exts:
        with open(f'{d}/top.img', 'rb') as file:
            check(kind == FMT or struct.pack('>II', kind, len(data)) + data in file.read(top.cluster), f'extension {kind:#x} is gone')
    bp('pull', f'{d}/top.img')
    images.judge_pulled(f'{d}/top.img', 'qcow2', flat)
    return 'done'


@case('a new name has its place in headers of all shapes, or is refused')
def by_seed(d):
    first, n = int(os.environ.get('BB_FIRST_SEED', FIRST)), int(os.environ.get('BB_SEEDS', SEEDS))
    ends, broken = {}, []
    for seed in range(first, first + n):
        os.mkdir(f'{d}/{seed}')
        try:
            end = attempt(f'{d}/{seed}', seed)
            ends[end] = ends.get(end, 0) + 1
        except Failed as error:
            broken.append(f'BB_FIRST_SEED={seed} BB_SEEDS=1: {error}')
        shutil.rmtree(f'{d}/{seed}')
    note(f'seeds {first} to {first + n - 1}: {ends}')
    if broken:
        raise Failed(f'{len(broken)} of {n}:\n' + '\n'.join(broken))
    check(n < SEEDS or ends.get('done', 0) > n / 2, f'the seeds prove little: {ends}')
    check(ends.get('refused') or n < (SEEDS if first == FIRST else CERTAIN), f'no seed had too little room: {ends}')


if __name__ == '__main__':
    harness.main(workers=1)
