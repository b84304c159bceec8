# SPDX-License-Identifier: MIT OR Apache-2.0
"""The power is cut under commit and snapshot: each image that names a file of the chain reads the same in every state,
and the file that was committed into does when that was reported.

Beside states drawn from a seed, each point of the log is reached once, by its number: BB_CUTS=n takes every n-th.
"""
import os
import random

import harness
import images
from cut_rig import SEED, Judging, faults_of, judge_each, judge_states
from cut_scene import QEMU_EVERY, RESUME_EVERY, Scene, reader, slurp, views
from harness import KIB, MIB, bp, case, check, same
from images import overlay, qemu_img, qemu_io


def shown(where, name, fmt=None):
    """What an image of this directory shows, through files of this directory."""
    if fmt == 'raw':
        return slurp(f'{where}/{name}')
    image = reader(f'{where}/{name}')
    if not image.backing:
        return views(image, {})['']
    below = image.backing.decode()
    return views(image, {below: shown(where, below, 'raw' if is_raw(f'{where}/{below}') else None)})['']


def is_raw(path):
    with open(path, 'rb') as file:
        return file.read(4) not in (b'QED\0', b'QFI\xfb')


class ChainScene(Scene):
    """top.img over mid.img over base.img, child.img over top.img and other.img over base.img, each with bytes of its own."""

    def learn(self):
        mid, size = f'{self.rec.disk}/mid.img', len(self.chains['base.img'])
        overlay(mid, 'base.img', self.fmt, self.options, self.base_fmt)
        qemu_io(mid, self.fmt, 'write -P 1 300k 77k', 'write -z 500k 100k', f'write -P 3 {size - 90 * KIB} 60k')
        qemu_img('rebase', '-u', '-f', self.fmt, '-b', 'mid.img', '-F', self.fmt, self.top)
        overlay(f'{self.rec.disk}/child.img', 'top.img', base_fmt=self.fmt)
        overlay(f'{self.rec.disk}/other.img', 'base.img', base_fmt=self.base_fmt)
        for name in 'child', 'other':
            qemu_io(f'{self.rec.disk}/{name}.img', 'qcow2', 'write -P 77 30k 50k')
        self.extra = ['--backing-format=qed'] if self.fmt == 'qed' else []
        self.heads = self.heads_of()
        self.flats = {name: images.flatten(f'{self.rec.disk}/{name}', fmt, f'{self.d}/{name}.flat')
                      for name, fmt in self.heads.items()}
        self.wanted = {name: slurp(flat) for name, flat in self.flats.items()}
        for name in self.heads:
            check(shown(self.rec.disk, name) == self.wanted[name], f'the judge reads {name} as QEMU does')

    def __init__(self, d, fmt='qcow2', options=None, **how):
        self.options = options
        super().__init__(d, fmt=fmt, options=options, **how)

    def heads_of(self):
        """The images that read the same in every state, and their formats."""
        heads = {'top.img': self.fmt, 'other.img': 'qcow2'}
        if self.fmt != 'qed':  # QEMU follows its format
            heads['child.img'] = 'qcow2'
        return heads

    def judge(self, where, log, cut, number):
        os.chdir(where)
        done = 'done' in log.marks and log.marks['done'] < cut
        self.judge_heads(where)
        self.judge_end(where, done)
        if number % QEMU_EVERY == 0:
            self.ask_qemu(where)
        if number % RESUME_EVERY == 0:
            self.resume(where)
            self.judge_heads(where)
            self.judge_end(where, True)
            self.ask_qemu(where)

    def judge_heads(self, where):
        for name in self.heads:
            reader(f'{where}/{name}').judge_refcounts(True)
            check(shown(where, name) == self.wanted[name], f'{name} changed')

    def ask_qemu(self, where):
        for name, fmt in self.heads.items():
            check(images.image_check(f'{where}/{name}', fmt) in (0, 3), f'{name} is corrupt, says qemu-img check')
            images.compare_flat(f'{where}/{name}', fmt, self.flats[name], f'of {name}, says qemu-img compare')

    def judging(self, log):
        self.before = log.before
        return Judging(self.d, log, self.judge)


def cut(scene, *command):
    with scene.rec:
        bp(*command)
        scene.rec.mark('done')
    log = scene.rec.log()
    judge_each(scene.judging(log))
    judge_states(scene.judging(log), random.Random(SEED))
    return log


# ---- commit --------------------------------------------------------------------------------------

class CommitScene(ChainScene):
    """top.img goes down, into mid.img or with that into base.img; other.img is not there where that changes."""

    def __init__(self, d, into, args, **how):
        self.into, self.args = into, args
        super().__init__(d, **how)

    def heads_of(self):
        heads = super().heads_of()
        if self.into == 'base.img':
            del heads['other.img']
            os.unlink(f'{self.rec.disk}/other.img')
        return heads

    def command(self, where):
        return ['commit', '-q', *self.args, *self.extra, '--base', f'{where}/{self.into}', f'{where}/top.img']

    def judge_end(self, where, done):
        path = f'{where}/{self.into}'
        raw = self.into == 'base.img' and self.base_fmt == 'raw'
        if not raw:
            reader(path).judge_refcounts(True)
        if not done:
            return
        check(shown(where, self.into, 'raw' if raw else None) == self.wanted['top.img'], f'it was done, and {self.into} differs')
        below = self.into if '--keep' not in self.args else 'mid.img'
        same(reader(f'{where}/top.img').backing.decode(), below, 'the backing file of top.img')

    def resume(self, where):
        bp(*self.command(where), '--shared-base-is-mine')  # mid.img may be left out already, and reads from it


def committed(d, into, args, how):
    scene = CommitScene(d, into, args, **how)
    cut(scene, *scene.command(scene.rec.mount))


for what, into, args, how in (
        ('into the file below', 'mid.img', [], dict(options='cluster_size=4k')),
        ('into a raw base, over one between', 'base.img', [], dict(options='cluster_size=4k')),
        ('into a qcow2 base, 512-byte clusters, threads', 'base.img', ['--io=threads'],
         dict(options='cluster_size=512', base_fmt='qcow2')),
        ('into a qcow2 base of large clusters', 'base.img', [], dict(options='cluster_size=1k', base_fmt='qcow2')),
        ('v2', 'mid.img', [], dict(options='compat=0.10,cluster_size=4k')),
        ('subclusters', 'base.img', [], dict(options='extended_l2=on,cluster_size=16k', base_fmt='qcow2')),
        ('--keep', 'mid.img', ['--keep'], dict(options='cluster_size=4k')),
        ('--keep, into a raw base', 'base.img', ['--keep'], dict()),
        ('QED', 'base.img', [], dict(fmt='qed', options='cluster_size=4k'))):
    case(f'commit {what}', into, args, how)(committed)


# ---- snapshot ------------------------------------------------------------------------------------

class SnapshotScene(ChainScene):
    """new.img is a head over top.img once that was reported; before, it may be there in part, as other programs make one."""

    def __init__(self, d, args, **how):
        self.args = args
        super().__init__(d, **how)

    def command(self, where):
        return ['snapshot', '-q', *self.args, *self.extra, f'{where}/top.img', f'{where}/new.img']

    def judge_end(self, where, done):
        is_there = os.path.exists(f'{where}/new.img')
        check(is_there or not done, 'it was done, and is not there')
        for name in 'top.img', 'mid.img', 'base.img':
            check(slurp(f'{where}/{name}') == self.before[name], f'{name} was changed')
        if done:
            reader(f'{where}/new.img').judge_refcounts(False)
            check(shown(where, 'new.img') == self.wanted['top.img'], 'new.img reads otherwise')
            if 'qed' not in self.args and self.fmt != 'qed':
                images.compare_flat(f'{where}/new.img', 'qcow2', self.flats['top.img'], 'of new.img, says qemu-img compare')

    def resume(self, where):
        if os.path.exists(f'{where}/new.img'):
            os.unlink(f'{where}/new.img')
        bp(*self.command(where))


@case('snapshot', [], dict())
@case('snapshot, 512-byte clusters', ['-o', 'cluster_size=512'], dict(options='cluster_size=512'))
@case('snapshot in QED', ['-f', 'qed'], dict(options='cluster_size=4k'))
@case('snapshot of QED', [], dict(fmt='qed', options='cluster_size=4k'))
def snapshot(d, args, how):
    scene = SnapshotScene(d, args, **how)
    cut(scene, *scene.command(scene.rec.mount))


# ---- the judge -----------------------------------------------------------------------------------

@case('a commit whose syncs are lies is found out')
def lies(d):
    scene = CommitScene(d, 'base.img', [], options='cluster_size=4k')
    with scene.rec:
        bp(*scene.command(scene.rec.mount))
        scene.rec.mark('done')
    log = scene.rec.log()
    log.lie(1)
    faults, _ = faults_of(scene.judging(log), 60, random.Random(SEED))
    check(faults, 'no sync was made, and nothing was lost')


if __name__ == '__main__':
    harness.main()
