# SPDX-License-Identifier: MIT OR Apache-2.0
"""Internal snapshots and subclusters: what other tools silently turn to zeros survives a pull.

Random overlays by QEMU's tools: writes, zeros, discards, snapshots and resizes in any order. Each
snapshot is read before and after, and must be the same. One case a seed, as
in test_random_chains.py (BB_SEEDS, BB_FIRST_SEED).
"""
import json
import os
import random
import shutil
import sys

import harness
import images
from harness import KIB, MIB, Failed, bp, case, check, same
from images import Untouched, digest, judge_pulled, qemu_img, qemu_io
from test_random_chains import seeds


def names(path):
    return [s['name'] for s in images.image_info(path).get('snapshots', [])]


def contents(path, directory, sizes=None):
    """What each snapshot reads, by name. Of a copy that has gone back to it: convert -l would read as
    much as the disk has now, also behind the snapshot's end."""
    copy, flat, read = f'{directory}/copy.img', f'{directory}/snapshot.raw', {}
    for name in names(path):
        shutil.copyfile(path, copy)
        if qemu_img('snapshot', '-a', name, copy, rc=(0, 1)).rc:  # its refcounts are too narrow for that
            qemu_img('convert', '-l', f'snapshot.name={name}', '-O', 'raw', path, flat)
            os.truncate(flat, min(os.path.getsize(flat), sizes[name]))
        else:
            qemu_img('convert', '-f', 'qcow2', '-O', 'raw', copy, flat)
        read[name] = digest(flat)
        os.unlink(copy)
        os.unlink(flat)
    return read


def snapshot(path, name):
    return qemu_img('snapshot', '-c', name, path, rc=(0, 1)).rc == 0


class Overlay:
    """An overlay drawn from a seed; `log` is how it came about."""

    def __init__(self, directory, seed):
        self.rng = rng = random.Random(seed)
        self.log, self.sizes = [], {}
        random.seed(seed)
        self.top, base = f'{directory}/top.img', f'{directory}/base.img'
        size = rng.choice([2, 3, 8]) * MIB + rng.choice([0, 512, 33 * KIB])
        spots = [(rng.randrange(0, size - 4096), rng.choice([512, 9000, 300 * KIB])) for _ in range(12)]
        images.raw_image(base, size, *[(at, min(n, size - at)) for at, n in spots])
        fmt = rng.choice(['raw', 'raw', 'qcow2', 'qed'])
        if fmt != 'raw':
            os.rename(base, base + '.raw')
            qemu_img('convert', '-f', 'raw', '-O', fmt, base + '.raw', base)
            os.unlink(base + '.raw')
        self.extended = rng.random() < 0.4
        cluster = rng.choice([16, 32, 64, 2048] if self.extended else [0.5, 4, 64, 64, 2048])
        options = [f'cluster_size={int(cluster * KIB)}']
        if self.extended:
            options.append('extended_l2=on')
        elif rng.random() < 0.2:
            options.append('compat=0.10')
        if 'compat=0.10' not in options:
            options.append(f'refcount_bits={rng.choice([16, 16, 2, 4, 8, 32, 64])}')
            options.append(f'lazy_refcounts={rng.choice(["on", "off"])}')
        size = max(512, size + rng.choice([0, 0, -MIB, MIB])) // 512 * 512
        self.size = size
        images.overlay(self.top, 'base.img', options=','.join(options), base_fmt=fmt, size=size)
        self.note(f'base {fmt}, {",".join(options)}, {size} bytes')
        for step in range(rng.randint(3, 14)):
            self.change(step)

    def note(self, text):
        self.log.append(text)

    def change(self, step):
        rng = self.rng
        what = rng.choice(['write', 'write', 'write', 'zero', 'discard', 'snapshot', 'snapshot', 'resize',
                           'delete', 'apply'])
        if what == 'snapshot':
            self.sizes[f's{step}'] = self.size
            self.note(f'snapshot s{step}: {snapshot(self.top, f"s{step}")}')
        elif what in ('delete', 'apply') and names(self.top) and rng.random() < 0.5:
            name = rng.choice(names(self.top))
            rc = qemu_img('snapshot', f'-{what[0]}', name, self.top, rc=(0, 1)).rc
            self.size = images.image_info(self.top)['virtual-size']
            self.note(f'{what} {name}: {rc}')
        elif what == 'resize' and rng.random() < 0.6:
            size = max(MIB, self.size + rng.choice([-MIB, -600 * KIB, MIB, 700 * KIB]))
            if not qemu_img('resize', '--shrink', '-f', 'qcow2', self.top, str(size), rc=(0, 1)).rc:
                self.size = size
                self.note(f'resize {size}')
        elif what in ('write', 'zero', 'discard'):
            self.touch(what)

    def touch(self, what):
        rng = self.rng
        at = rng.randrange(0, self.size, 512)
        length = min(self.size - at, rng.choice([512, 4096, 40 * KIB, 200 * KIB, MIB])) // 512 * 512
        if not length:
            return
        command = {'write': f'write -P {rng.randint(1, 255)}', 'zero': f'write -z{rng.choice(["", "u"])}',
                   'discard': 'discard'}[what]
        command = command.replace('-zu', '-z -u') + f' {at} {length}'
        self.note(command)
        qemu_io(self.top, 'qcow2', command)

    def __str__(self):
        return '\n'.join(self.log)


def pull_and_judge(directory, seed):
    made = Overlay(directory, seed)
    if images.image_check(made.top, 'qcow2') == 2:  # a snapshot that refcounts are too narrow for
        qemu_img('check', '-q', '-r', 'all', made.top)
    try:
        flat = images.flatten(made.top, 'qcow2', f'{directory}/flat')
        before, base = contents(made.top, directory, made.sizes), Untouched(f'{directory}/base.img')
        needed = json.loads(bp('measure', '--json', made.top).out)['needed-size']
        options = [f'--io={made.rng.choice(["auto", "threads"])}'] + made.rng.choice([[], [], ['--compress']])
        bp('pull', *options, made.top)
        judge_pulled(made.top, 'qcow2', flat)
        check('--compress' in options or os.stat(made.top).st_size <= needed, f'{os.stat(made.top).st_size} bytes, measured {needed}')
        base.verify('by the pull')
        os.rename(f'{directory}/base.img', f'{directory}/away.img')
        after = contents(made.top, directory, made.sizes)
        for name, content in before.items():
            same(after[name], content, f'content of snapshot {name}')
        same(list(after), list(before), 'snapshots')
        go_back(made)
    except Failed as error:
        raise Failed(f'{error}\n{made}\n'
                     f'again: BB_SEEDS={seed}-{seed} {sys.executable} {sys.argv[0]} {harness.blockpull}') from None


def go_back(made):
    """A snapshot is there to be gone back to, and written on."""
    for name in names(made.top):
        if qemu_img('snapshot', '-a', name, made.top, rc=(0, 1)).rc:
            return  # narrow refcounts; QEMU has left leaks behind then
        qemu_io(made.top, 'qcow2', 'write -P 90 0 70000')
        same(images.image_check(made.top, 'qcow2'), 0, f'qemu-img check after going back to {name}')


@case('a table shared by all is filled once, for all')
def shared(d):
    images.raw_image(f'{d}/base.img', 4 * MIB)
    top = images.overlay(f'{d}/top.img', 'base.img')
    qemu_io(top, 'qcow2', 'write -P 1 0 64k')
    for name in 'abc':
        qemu_img('snapshot', '-c', name, top)
    before, flat = contents(top, d), images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', top)
    judge_pulled(top, 'qcow2', flat)
    same(contents(top, d), before, 'the snapshots')
    # One copy of 4 MiB and a handful of tables, not four.
    check(os.stat(top).st_size < 4 * MIB + 32 * 64 * KIB, f'{os.stat(top).st_size} bytes')


@case('a snapshot that ends inside a cluster of 2 MiB')
def large(d):
    """The cluster's second MiB is behind the snapshot's end, where only disks look that have it."""
    images.raw_image(f'{d}/base.img', 4 * MIB)
    top = images.overlay(f'{d}/top.img', 'base.img', options='cluster_size=2M', size=2 * MIB + 33 * KIB)
    qemu_img('snapshot', '-c', 's', top)
    qemu_img('resize', '-f', 'qcow2', top, str(4 * MIB))
    qemu_io(top, 'qcow2', 'write -P 112 1500k 1M')
    before, flat = contents(top, d), images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', top)
    judge_pulled(top, 'qcow2', flat)
    os.rename(f'{d}/base.img', f'{d}/away.img')
    same(contents(top, d), before, 'the snapshot')


@case('a snapshot that is longer than the disk', 6, 2)
@case('a snapshot that is a little longer than the disk', 3, 2.75)
def longer(d, size, shrunk):
    """Behind the disk's end the base has data that is the snapshot's alone."""
    images.raw_image(f'{d}/base.img', size * MIB)
    top = images.overlay(f'{d}/top.img', 'base.img')
    qemu_img('snapshot', '-c', 's', top)
    qemu_img('resize', '--shrink', '-f', 'qcow2', top, str(int(shrunk * MIB) + 512))
    before, flat = contents(top, d), images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', top)
    judge_pulled(top, 'qcow2', flat)
    os.rename(f'{d}/base.img', f'{d}/away.img')
    same(contents(top, d), before, 'the snapshot')


@case('only the missing subclusters are copied, in place')
def subclusters(d):
    images.raw_image(f'{d}/base.img', 2 * MIB)
    top = images.overlay(f'{d}/top.img', 'base.img', options='extended_l2=on')
    qemu_io(top, 'qcow2', *(f'write -P 9 {at * KIB} 2k' for at in range(0, 2048, 6)))
    before, flat = images.image_map(top), images.flatten(top, 'qcow2', f'{d}/flat')
    size = os.stat(top).st_size
    bp('pull', top)
    judge_pulled(top, 'qcow2', flat)
    check(os.stat(top).st_size <= size + 64 * KIB, f'{size} bytes became {os.stat(top).st_size}')
    after = images.image_map(top)
    for extent in (e for e in before if e['depth'] == 0 and e['data']):
        check(any(e['start'] <= extent['start'] < e['start'] + e['length'] and
                  e['offset'] + extent['start'] - e['start'] == extent['offset'] for e in after if e['data']),
              f'{extent} has moved')


if __name__ == '__main__':
    print(f'# seeds {seeds().start} to {seeds().stop - 1}')
    for number in seeds():
        harness.cases.append((f'random snapshots, seed {number}', pull_and_judge, (number,)))
    harness.main(workers=2)
