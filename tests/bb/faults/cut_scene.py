# SPDX-License-Identifier: MIT OR Apache-2.0
"""An overlay on the logging file system, and what a power cut must leave of it.

In every state the image opens, its refcounts cover all references, and the content, of snapshots
too, is as before; once "done" was marked the image needs no base. The judges are readers written from
the specifications, which are quick; qemu-img check and compare look at a sample of the states, and another
sample is pulled to its end.
"""
import os
import zlib

import harness
import images
import qcow2_reader
import qed_reader
from cut_rig import Judging, Recorded
from harness import KIB, MIB, bp, check, same
from images import overlay, qemu_img, qemu_io, raw_image

QEMU_EVERY, RESUME_EVERY = 9, 7


def reader(path):
    with open(path, 'rb') as file:
        magic = file.read(4)
    return qed_reader.Reader(path) if magic == b'QED\0' else qcow2_reader.Reader(path)


def views(image, chains, data=None):
    """{view: content}; chains: {backing name: what it shows}."""
    below = chains[image.backing.decode()] if image.backing else b''
    if not hasattr(image, 'views'):
        return {'': image.read(below)}
    return {view.id: image.read(view, below, data) for view in image.views}


def slurp(path):
    with open(path, 'rb') as file:
        return file.read()


class Scene:
    """top.img over base.img in a recorded directory, and what a cut must leave of it. Commands run in the
    directory of the image, because QEMU looks for data files there."""

    def __init__(self, d, fmt='qcow2', options=None, size=MIB, base_size=None, snapshot=False, data_file=False,
                 base_fmt='raw', base_options=()):
        self.d, self.fmt, self.data_file, self.base_fmt = d, fmt, data_file, base_fmt
        self.rec = Recorded(d)
        self.top, self.base = f'{self.rec.disk}/top.img', f'{self.rec.disk}/base.img'
        os.chdir(self.rec.disk)
        self.make_base(base_size or size, base_options)
        if data_file:
            options = ','.join(filter(None, [options, 'data_file=top.data']))
        overlay(self.top, 'base.img', fmt, options, base_fmt)
        qemu_io(self.top, fmt, 'write -P 7 100k 30k', f'write -P 9 {size // 2} 3k', 'write -z 300k 20k')
        if snapshot:
            qemu_img('snapshot', '-c', 'one', self.top)
            qemu_io(self.top, fmt, 'write -P 8 120k 30k', f'write -P 4 {size - 64 * KIB} 5k')
        self.learn()

    def make_base(self, size, options):
        """Data that compresses by half, and holes."""
        raw = f'{self.d}/base.raw'
        with open(raw, 'wb') as file:
            file.truncate(size)
            for at in range(0, size, 192 * KIB):
                file.seek(at)
                file.write(b''.join(os.urandom(512) + bytes([at >> 10 & 127 | 1]) * 512 for _ in range(160))[:size - at])
        if self.base_fmt == 'raw':
            os.rename(raw, self.base)
        else:
            qemu_img('convert', '-f', 'raw', '-O', self.base_fmt, *options, raw, self.base)
        self.chains = {'base.img': slurp(raw if self.base_fmt != 'raw' else self.base)}

    def data_of(self, where):
        return slurp(f'{where}/top.data') if self.data_file else None

    def learn(self):
        self.flat = images.flatten(self.top, self.fmt, f'{self.d}/flat')
        self.expected = views(reader(self.top), self.chains, self.data_of(self.rec.disk))
        same(zlib.crc32(self.expected['']), zlib.crc32(slurp(self.flat)), 'the judge reads what QEMU reads')

    @property
    def mounted_top(self):
        return f'{self.rec.mount}/top.img'

    def judge(self, where, log, cut, number):
        top = f'{where}/top.img'
        os.chdir(where)
        self.judge_content(where, complete='done' in log.marks and log.marks['done'] < cut)
        if number % QEMU_EVERY == 0:
            check(images.image_check(top, self.fmt) in (0, 3), 'corrupt, says qemu-img check')
            self.compare(top)
        if number % RESUME_EVERY == 0:
            self.resume(top)
            self.judge_content(where, complete=True, leaks_allowed=False)
            same(images.image_check(top, self.fmt), 0, 'exit code of qemu-img check when pulled to the end')

    def resume(self, top):
        if reader(top).backing:
            bp('pull', '-q', top)
        else:  # leaks are all that is left, and a pull has nothing to do
            bp('check', '--repair=leaks', top)

    def compare(self, top):
        images.compare_flat(top, self.fmt, self.flat, 'says qemu-img compare')

    def judge_content(self, where, complete, leaks_allowed=True):
        image = reader(f'{where}/top.img')
        check(not (complete and image.backing), 'it was done, and the link is back')
        image.judge_refcounts(leaks_allowed)
        got = views(image, self.chains, self.data_of(where))
        same(set(got), set(self.expected), 'views')
        for view, content in got.items():
            if content != self.expected[view]:
                at = next(i for i, (a, b) in enumerate(zip(content, self.expected[view])) if a != b)
                raise harness.Failed(f'view {view!r} changed at {at}: {content[at:at + 8].hex()}, '
                                     f'was {self.expected[view][at:at + 8].hex()}')

    def judging(self, log):
        return Judging(self.d, log, self.judge, links=('base.img',))
