# SPDX-License-Identifier: MIT OR Apache-2.0
"""The power is cut under what is not a whole pull: pull --base, compact, flatten, check --repair, and pulls that
were killed or stopped before, so that what one process left unsynced is what the next one sees.
"""
import os
import random
import signal
import time

import damaged_images
import harness
import images
from cut_rig import SEED, judge_states
from cut_scene import Scene, reader, slurp, views
from harness import KIB, MIB, bp, case, check, same
from images import overlay, qemu_img, qemu_io


# ---- pull --base --------------------------------------------------------------------------------

class BaseScene(Scene):
    """top.img over mid.img over base.img, of which mid.img is to leave the chain."""

    def learn(self):
        mid = f'{self.rec.disk}/mid.img'
        size = len(self.chains['base.img'])
        overlay(mid, 'base.img', base_fmt=self.base_fmt)
        qemu_io(mid, 'qcow2', 'write -P 1 300k 77k', 'write -z 500k 100k', f'write -P 3 {size - 90 * KIB} 60k')
        self.chains['mid.img'] = views(reader(mid), self.chains)['']
        qemu_img('rebase', '-u', '-b', 'mid.img', '-F', 'qcow2', self.top)
        super().learn()
        self.extra = ['--backing-format=qcow2'] if self.fmt == 'qed' else []

    def judge_content(self, where, complete, leaks_allowed=True):
        image = reader(f'{where}/top.img')
        check(image.backing == b'base.img' if complete else image.backing in (b'mid.img', b'base.img'),
              f'the backing file is {image.backing}')
        image.judge_refcounts(leaks_allowed)
        got = views(image, self.chains, self.data_of(where))
        for view, content in got.items():
            check(content == self.expected[view], f'view {view!r} changed')

    def resume(self, top):
        if reader(top).backing == b'mid.img':
            bp('pull', '-q', *self.extra, '--base', 'base.img', top)
        else:  # leaks are all that is left
            bp('check', '--repair=leaks', top)

    def judging(self, log):
        judging = super().judging(log)
        judging.links = ('base.img', 'mid.img')
        return judging


@case('pull --base', dict(), [])
@case('pull --base, 512-byte clusters, threads', dict(options='cluster_size=512'), ['--io=threads'])
@case('pull --base, v2', dict(options='compat=0.10,cluster_size=4k'), [])
@case('pull --base, snapshot', dict(options='cluster_size=4k,refcount_bits=64', snapshot=True), [])
@case('pull --base, QED', dict(fmt='qed', options='cluster_size=4k'), [])
@case('pull --base, compressing', dict(options='cluster_size=4k'), ['--compress'])
def based(d, how, args):
    scene = BaseScene(d, **how)
    with scene.rec:
        bp('pull', '-q', *args, *scene.extra, '--base', f'{scene.rec.mount}/base.img', scene.mounted_top)
        scene.rec.mark('done')
    judge_states(scene.judging(scene.rec.log()), random.Random(SEED))


# ---- compact -------------------------------------------------------------------------------------

class CompactScene(BaseScene):
    """head.img over the three, which gets shorter between top.img and base.img: of the file in the middle."""

    def learn(self):
        super().learn()
        overlay(f'{self.rec.disk}/head.img', 'top.img', base_fmt=self.fmt)

    def judge_content(self, where, complete, leaks_allowed=True):
        super().judge_content(where, complete, leaks_allowed)
        head = reader(f'{where}/head.img')
        check(head.backing == b'top.img', f'the head names {head.backing}')

    def resume(self, top):
        if reader(top).backing == b'mid.img':
            bp('compact', '-q', *self.extra, '--from', top, '--to', 'mid.img', 'head.img')
        else:  # leaks are all that is left
            bp('check', '--repair=leaks', top)


@case('compact', dict(), [])
@case('compact, 512-byte clusters, threads', dict(options='cluster_size=512'), ['--io=threads'])
@case('compact, QED', dict(fmt='qed', options='cluster_size=4k'), [])
@case('compact, verifying', dict(options='cluster_size=4k'), ['--verify'])
def compacted(d, how, args):
    scene = CompactScene(d, **how)
    at = scene.rec.mount
    with scene.rec:
        bp('compact', '-q', *args, *scene.extra, '--from', f'{at}/top.img', '--to', f'{at}/mid.img', f'{at}/head.img')
        scene.rec.mark('done')
    judge_states(scene.judging(scene.rec.log()), random.Random(SEED))


# ---- resize --------------------------------------------------------------------------------------

class ResizeScene(Scene):
    """top.img, shorter than its base, is to be longer than that: it has the old size or the new one, and the new end is
    zeros. A size that was reported stays."""

    def __init__(self, d, new_size, **how):
        self.new_size = new_size
        super().__init__(d, **how)

    def learn(self):
        qemu_img('resize', '-q', '-f', self.fmt, '--shrink', self.top, str(600 * KIB))
        super().learn()

    def judge_content(self, where, complete, leaks_allowed=True):
        image = reader(f'{where}/top.img')
        image.judge_refcounts(leaks_allowed)
        for view, content in views(image, self.chains, self.data_of(where)).items():
            old = self.expected[view]
            new = old.ljust(self.new_size, b'\0') if view == '' else old
            check(content == new or (content == old and not complete),
                  f'view {view!r} is neither the old disk nor the new one: {len(content)} bytes')

    def resume(self, top):
        bp('resize', '-q', top, str(self.new_size))
        bp('check', '--repair=leaks', top)

    def compare(self, top):
        longer = f'{self.flat}.longer'
        with open(longer, 'wb') as file:
            file.write(slurp(self.flat).ljust(images.image_info(top)['virtual-size'], b'\0'))
        images.compare_flat(top, self.fmt, longer, 'says qemu-img compare')


@case('resize', dict(options='cluster_size=4k'), [])
@case('resize, a longer L1 table, threads', dict(options='cluster_size=512'), [])
@case('resize, snapshot', dict(options='cluster_size=512,refcount_bits=64', snapshot=True), [])
@case('resize, extended L2 entries', dict(options='extended_l2=on,cluster_size=16k'), [])
@case('resize, data file', dict(options='cluster_size=4k', data_file=True), [])
def resized(d, how, args):
    scene = ResizeScene(d, 3 * MIB, **how)
    with scene.rec:
        bp('resize', '-q', *args, scene.mounted_top, str(3 * MIB))
        scene.rec.mark('done')
    judge_states(scene.judging(scene.rec.log()), random.Random(SEED))


# ---- flatten ------------------------------------------------------------------------------------

class FlattenScene(Scene):
    """out.img is there, whole, or not there; once it was reported it is."""
    FLATTEN_AGAIN = 5

    def __init__(self, d, args, **how):
        self.args = args
        super().__init__(d, **how)

    def judge(self, where, log, cut, number):
        os.chdir(where)
        out = f'{where}/out.img'
        check(slurp(f'{where}/top.img') == log.before['top.img'], 'the source changed')
        check('done' not in log.marks or log.marks['done'] >= cut or os.path.exists(out), 'it was done, and is not there')
        if not os.path.exists(out) and number % self.FLATTEN_AGAIN == 0:
            bp('flatten', '-q', *self.args, f'{where}/top.img', out)
        if os.path.exists(out):
            self.judge_out(out, number)

    def judge_out(self, out, number):
        fmt = self.args[1]
        if fmt == 'raw':
            check(slurp(out) == self.expected[''], 'content of out.img')
            return
        image = reader(out)
        check(not image.backing, 'out.img has a backing file')
        image.judge_refcounts(True)
        check(image.read(*([image.active] if fmt == 'qcow2' else [])) == self.expected[''], 'content of out.img')
        if number % 9 == 0:
            check(images.image_check(out, fmt) in (0, 3), 'out.img is corrupt, says qemu-img check')
            images.compare_flat(out, fmt, self.flat, 'says qemu-img compare')


@case('flatten to raw', ['-f', 'raw'])
@case('flatten to qcow2', ['-f', 'qcow2', '-o', 'cluster_size=512,refcount_bits=64'])
@case('flatten to qcow2, threads', ['-f', 'qcow2', '--io=threads'])
@case('flatten to compressed qcow2', ['-f', 'qcow2', '-o', 'cluster_size=4k', '--compress'])
@case('flatten to QED', ['-f', 'qed', '-o', 'cluster_size=4k'])
def flattened(d, args):
    scene = FlattenScene(d, args)
    with scene.rec:
        bp('flatten', '-q', *args, scene.mounted_top, f'{scene.rec.mount}/out.img')
        scene.rec.mark('done')
    judge_states(scene.judging(scene.rec.log()), random.Random(SEED))


# ---- check --repair -----------------------------------------------------------------------------

class RepairScene(Scene):
    """A damaged image: the content is never touched, and the next repair ends clean."""

    def __init__(self, d, damage, leaks_only, what, **how):
        self.damage, self.leaks_only, self.what = damage, leaks_only, what
        super().__init__(d, **how)
        damage(self.top)
        if self.fmt == 'qed':  # its damage comes with a write
            self.learn()

    def judge(self, where, log, cut, number):
        top = f'{where}/top.img'
        os.chdir(where)
        done = 'done' in log.marks and log.marks['done'] < cut
        image = reader(top)
        check(views(image, self.chains) == self.expected, 'content changed')
        if done or self.leaks_only:
            image.judge_refcounts(leaks_allowed=not done)
        if not done:
            bp('check', f'--repair={self.what}', top)
            image = reader(top)
            image.judge_refcounts(False)
            check(views(image, self.chains) == self.expected, 'content changed by repairing again')
        if number % 9 == 0:
            same(images.image_check(top, self.fmt), 0, 'exit code of qemu-img check')


def dirty(path):
    images.patch(path, 79, b'\1')
    damaged_images.all_refcounts_gone(path)


def qed_leaks(path):
    """Clusters that no entry refers to, in the middle of the file and at its end, behind a mark."""
    for then in (['write -P 5 900k 30k'], []):
        with open(path, 'ab') as file:
            file.write(bytes([77]) * (5 * 64 * KIB))
        for command in then:
            qemu_io(path, 'qed', command)
    with open(path, 'rb') as file:
        features = file.read(17)[16]
    images.patch(path, 16, bytes([features | 2]))


@case('check --repair=leaks', damaged_images.leak, True, 'leaks', dict())
@case('check --repair=all, leaks', damaged_images.leak, True, 'all', dict())
@case('check --repair=all, a refcount too low', damaged_images.refcount_too_low, False, 'all', dict())
@case('check --repair=all, all refcounts gone', damaged_images.all_refcounts_gone, False, 'all', dict())
@case('check --repair=all, all refcounts gone, snapshot', damaged_images.all_refcounts_gone, False, 'all', dict(snapshot=True))
@case('check --repair=all, marked dirty', dirty, False, 'all', dict())
@case('check --repair=all, QED', qed_leaks, True, 'all', dict(fmt='qed'))
def repaired(d, damage, leaks_only, what, how):
    scene = RepairScene(d, damage, leaks_only, what, **how)
    with scene.rec:
        bp('check', f'--repair={what}', scene.mounted_top)
        scene.rec.mark('done')
    judge_states(scene.judging(scene.rec.log()), random.Random(SEED))


# ---- One process after another ------------------------------------------------------------------

@case('killed, stopped and pulled again, qcow2', dict(options='cluster_size=4k'))
@case('killed, stopped and pulled again, 512-byte clusters', dict(options='cluster_size=512'))
@case('killed, stopped and pulled again, snapshot', dict(options='cluster_size=1k,refcount_bits=64', snapshot=True))
@case('killed, stopped and pulled again, data file', dict(options='cluster_size=4k', data_file=True))
@case('killed, stopped and pulled again, QED', dict(fmt='qed', options='cluster_size=4k'))
def again(d, how):
    rng = random.Random(f'{SEED} {how}')
    scene = Scene(d, **how)
    with scene.rec:
        for number in range(6):
            pull = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=6M', '--burst=64k',
                                 f'--io={rng.choice(["uring", "threads"])}', scene.mounted_top)
            time.sleep(rng.uniform(0.01, 0.12))
            harness.kill(pull, rng.choice((signal.SIGKILL, signal.SIGINT)))
            harness.finish(pull)
        bp('pull', '-q', scene.mounted_top)
        scene.rec.mark('done')
    judge_states(scene.judging(scene.rec.log()), rng)


if __name__ == '__main__':
    harness.main()
