# SPDX-License-Identifier: MIT OR Apache-2.0
"""The speed limit: 16 MiB/s means 16 MiB/s, whatever the cluster size, and holes are free.

64 MiB of data stand beside 256 MiB of holes, so a right limiter needs 4 s. Too fast is always a
fault, and no noise can excuse it; too slow may be the machine, so the best of three counts and the
bound is wide.
"""
import time

import harness
import images
from harness import KIB, MIB, bp, case, check, note, same
from images import overlay, raw_image

DATA, HOLES, RATE = 64 * MIB, 256 * MIB, 16 * MIB
FASTEST, SLOWEST = 3.84, 5.0


def base(d):
    """Data in 8 pieces, holes between them."""
    step = (DATA + HOLES) // 8
    return raw_image(f'{d}/base.img', DATA + HOLES, *((i * step, DATA // 8) for i in range(8)))


@case('16 MiB/s into 4 KiB clusters', 'qcow2', 'cluster_size=4k')
@case('16 MiB/s into 64 KiB clusters', 'qcow2', 'cluster_size=64k')
@case('16 MiB/s into 2 MiB clusters', 'qcow2', 'cluster_size=2M')
@case('16 MiB/s into QED', 'qed', None)
def rate(d, fmt, options):
    flat = base(d)
    measured = []
    while len(measured) < 3 and not (measured and min(measured) <= SLOWEST):
        top = f'{d}/top{len(measured)}.img'
        overlay(top, 'base.img', fmt, options)
        result = bp('pull', f'--bandwidth={RATE}', top)
        measured.append(result.seconds)
        note(f'{result.seconds:.3f} s, {DATA / result.seconds / MIB:.2f} MiB/s')
        check(result.seconds >= FASTEST, f'{result.seconds:.3f} s is faster than the limit allows')
        images.judge_pulled(top, fmt, flat)
    check(min(measured) <= SLOWEST, f'best of three was {min(measured):.3f} s')


@case('256 MiB of holes cost nothing')
def holes(d):
    raw_image(f'{d}/base.img', HOLES, (0, 0))
    top = overlay(f'{d}/top.img', 'base.img')
    seconds = bp('pull', '--bandwidth=16M', top).seconds
    note(f'{seconds:.3f} s')
    check(seconds < 2, f'holes were charged: {seconds:.3f} s')


@case('a burst follows the idle time, no more')
def burst(d):
    raw_image(f'{d}/base.img', 8 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    seconds = bp('pull', '--bandwidth=4M', '--burst=4M', top).seconds
    note(f'8 MiB at 4 MiB/s with a burst of 4 MiB: {seconds:.3f} s')
    check(0.96 <= seconds < 2.5, f'{seconds:.3f} s, wanted 1 s')


@case('a rate below the size of a cluster')
def small_rate(d):
    raw_image(f'{d}/base.img', 2 * MIB)
    top = overlay(f'{d}/top.img', 'base.img', 'qcow2', 'cluster_size=2M')
    seconds = bp('pull', '--bandwidth=1M', top).seconds
    note(f'2 MiB at 1 MiB/s: {seconds:.3f} s')
    check(seconds < 5, f'{seconds:.3f} s, wanted at most 2 s')
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')


@case('images of one call share one rate')
@case('images pulled at once share one rate', '--jobs=2')
def shared(d, *args):
    tops = []
    for name in 'one', 'two':
        raw_image(f'{d}/{name}.base', 16 * MIB)
        tops.append(overlay(f'{d}/{name}.img', f'{name}.base'))
    seconds = bp('pull', '--bandwidth=16M', *args, *tops).seconds
    note(f'2 x 16 MiB at 16 MiB/s: {seconds:.3f} s')
    check(seconds >= 2 * 0.96 - 0.2, f'{seconds:.3f} s: each image had a rate of its own')
    check(seconds < 4, f'{seconds:.3f} s, wanted 2 s')


@case('flatten keeps to its rate')
def flattened(d):
    raw_image(f'{d}/base.img', 8 * MIB)
    seconds = bp('flatten', '--bandwidth=8M', f'{d}/base.img', f'{d}/out').seconds
    check(0.8 < seconds < 3, f'8 MiB at 8 MiB/s took {seconds} s')


@case('a stop does not wait for the limiter, and progress tells of the limits')
def prompt_stop(d):
    raw_image(f'{d}/base.img', 16 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=64K', '--iops=1000', '--progress=json', top)
    time.sleep(0.5)
    harness.kill(pull, 2)
    began = time.monotonic()
    result = harness.finish(pull, 30)
    check(result.rc == 130, str(result))
    check(time.monotonic() - began < 2, 'SIGINT had to wait for the limiter')
    same([result.lines()[0][n] for n in ('bandwidth', 'limit', 'iops')], [64 * KIB, 64 * KIB, 1000], 'the limits')


if __name__ == '__main__':
    harness.main()
