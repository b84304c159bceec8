# SPDX-License-Identifier: MIT OR Apache-2.0
"""Rings that are stopped in the middle, by our own frontend."""
import facts
import harness
import strace
from harness import case, check, note, same
from images import image_check, overlay, qemu_img
from serve_rig import FIRST, disk, end, frontend, serving


@case('when a ring\'s stop is answered all that was taken is over, and its memory is touched no more', 'uring', 'qemu')
@case('the same with threads and Cloud Hypervisor', 'threads', 'cloud-hypervisor')
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


if __name__ == '__main__':
    harness.main(workers=2)
