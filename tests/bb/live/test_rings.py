# SPDX-License-Identifier: MIT OR Apache-2.0
"""Rings that are stopped in the middle, rings that are polled, and disks without a cache, by our own frontend."""
import os
import time

import facts
import harness
import strace
from harness import Skip, case, check, note, same
from images import image_check, overlay, qemu_img
from serve_rig import FIRST, disk, end, frontend, over, running, serving

N = 20


@case('when a ring\'s stop is answered all that was taken is over, and its memory is touched no more', 'uring', 'qemu')
@case('when a ring\'s stop is answered all is over, with threads and Cloud Hypervisor', 'threads', 'cloud-hypervisor')
def halted(d, io, order):
    disk(d)
    # What has to be decompressed is not read on the spot.
    qemu_img('convert', '-c', '-f', 'raw', '-O', 'qcow2', f'{d}/base.raw', f'{d}/base.qcow2')
    top = overlay(f'{d}/top.img', 'base.qcow2', base_fmt='qcow2')
    server = serving(d, *facts.possible([f'--io={io}']), top)
    said = frontend('halt', '-f', FIRST, '-q', 2, '-o', order, f'{d}/s')
    note(f'{said.out.strip()} of 80 stops came while requests were in flight')
    check(int(said.out), 'nothing was in flight at any stop')
    end(server)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('a ring that neither side tells the other of is looked at all the time')
def polled(d):
    top = disk(d)
    server, front = running(d, top, front=('-p', '-q', 2))
    for n in range(N):
        front.do('write', n % 2, 8 * n, n, answer=0)
        front.do('read', (n + 1) % 2, 8 * n, answer=n)
    front.do('stop')
    over(server, front)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


class Syncs:
    """How many calls that make bytes durable a server has made."""

    def __init__(self, d, server):
        self.log, self.seen = f'{d}/syncs', 0
        self.tracer = harness.start(*strace.words(trace='fdatasync,fsync,pwritev2', log=self.log), '-p', server.pid)
        deadline = time.monotonic() + harness.WAIT
        while not self._is_attached(server.pid):
            if self.tracer.poll() is not None:
                raise Skip('strace may not trace')
            check(time.monotonic() < deadline, 'strace does not attach')
            time.sleep(0.01)

    def _is_attached(self, pid):
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/status', encoding='ascii') as status:
                if 'TracerPid:\t0\n' in status.read():
                    return False
        return True

    def more(self):
        with open(self.log, encoding='ascii') as log:
            n = sum('sync(' in line or 'RWF_DSYNC' in line for line in log)
        more, self.seen = n - self.seen, n
        return more

    def end(self):
        """Before the server's end, where a sanitizer looks for leaks: it can't while a process is traced."""
        self.tracer.terminate()
        harness.finish(self.tracer)


@case('without a cache each write is durable before its answer, and with one none is: QEMU', 'qemu')
@case('without a cache each write is durable before its answer: Cloud Hypervisor', 'cloud-hypervisor')
@case('a frontend that does not acknowledge the cache\'s byte can flush', 'firecracker')
def cache(d, order):
    """Calls are seen where threads make them."""
    top = disk(d)
    server, front = running(d, '--io=threads', top, front=('-o', order))
    front.do('write', 0, 0, 1, answer=0)  # its cluster is the image's own from now on
    front.do('flush', 0, answer=0)
    time.sleep(1)  # a commit behind it begins,
    front.do('flush', 0, answer=0)  # and is over
    syncs = Syncs(d, server)
    has_byte = order != 'firecracker'
    for on in (1, 0, 1, 0):
        front.do('cached' if on else 'uncached')
        syncs.more()
        for n in range(N):
            front.do('write', 0, 8 * (n % 2), n, answer=0)
            if has_byte and not on:
                check(syncs.more(), f'write {n} without a cache was answered before it was durable')
        same(bool(syncs.more()), False, f'syncs of writes with cache={on}')
    syncs.end()
    over(server, front)


if __name__ == '__main__':
    harness.main(workers=2)
