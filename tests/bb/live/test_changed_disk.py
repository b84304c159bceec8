# SPDX-License-Identifier: MIT OR Apache-2.0
"""A base that others change while nbdkit has the disk open, and a marked image served by it.

The change is seen when the disk is closed, where no job runs: beside copies that follow reads, and
after a job was aborted. What is marked, and what is not, is test_changed_base.py's business.
"""
import os
import signal
import time

import facts
import harness
from harness import MIB, REFUSED, bp, case, check, field, same
from images import compare_flat, flatten, image_check, patch, qemu_io, refused_alike
from test_changed_base import cut, is_linked, is_marked, scene, spoil, touch
from test_control import Client
from test_nbdkit import listening

harness.cases.clear()  # theirs


def ended_well(process):
    os.kill(process.pid, signal.SIGTERM)
    result = harness.finish(process)
    check(result.rc in (0, 128 + signal.SIGTERM), str(result))


@case('nbdkit: accept-mixed')
def nbdkit(d):
    so, top = facts.nbdkit_plugin(), spoil(d)
    result = harness.run('nbdkit', '-U', '-', so, f'image={top}', 'pull=true', '--run', 'true')
    check(result.rc and 'marked' in result.err, str(result))
    result = harness.run('nbdkit', '-U', '-', so, f'image={top}', 'pull=true', 'accept-mixed=true', '--run',
                         'sleep 3')
    check('needs' not in result.err and 'refused' not in result.err, str(result))
    check(not is_linked(top) and not is_marked(top), f'it was not pulled: {result}')


@case('nbdkit: accept-mixed, and a job that QMP starts', 'true')
@case('nbdkit: such a job of a marked image is refused unasked', 'false')
def streamed(d, accepts):
    facts.nbdkit_plugin()  # or skip, before an image is made
    top = spoil(d)
    flat = flatten(top, 'qcow2', f'{d}/flat')
    process, _ = listening(d, top, f'accept-mixed={accepts}')
    client = Client(f'{d}/ctl')
    answer = client.raw(b'{"execute":"block-stream","arguments":{}}\n')
    if accepts == 'true':
        same(answer.get('return'), {}, f'block-stream: {answer}')
        ended = client.event('BLOCK_JOB_COMPLETED')
        check('error' not in ended['data'], str(ended))
    else:
        check('marked' in field(answer, 'error', 'desc'), str(answer))
    ended_well(process)
    same((is_linked(top), is_marked(top)), (accepts == 'false',) * 2, 'link and mark')
    compare_flat(top, 'qcow2', flat)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


# ---- no job sees the change ------------------------------------------------------------------------


def write(path):
    patch(path, 3 * MIB, b'changed' * 100)


def nothing(path):
    pass


def judge_mark(top, wanted):
    check(is_linked(top), 'the link was dropped')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    same(is_marked(top), wanted, 'it is marked')
    if wanted:
        refused_alike(REFUSED, ['marked', 'changed', 'top.img'], top)
    else:
        bp('pull', top)


@case('a base that is written to beside copies that follow reads', write, ('copy-on-read=true',), True)
@case('a base that is cut beside copies that follow reads', cut, ('copy-on-read=true',), True)
@case('a base that is touched beside copies that follow reads', touch, ('copy-on-read=true',), False)
@case('a base that is left alone beside copies that follow reads', nothing, ('copy-on-read=true',), False)
@case('a base that is written to beside reads that keep nothing', write, (), False)
def read_on(d, how, parameters, wanted):
    top = scene(d)
    process, uri = listening(d, top, *parameters)
    qemu_io(uri, 'raw', 'read 0 1M', 'flush')
    how(f'{d}/base.img')
    ended_well(process)
    judge_mark(top, wanted)


@case('a base that is written to after a job was aborted', write, True)
@case('a base that is touched after a job was aborted', touch, False)
def aborted(d, how, wanted):
    top = scene(d)
    process, _ = listening(d, top, 'pull=true', 'bandwidth=2M')
    client = Client(f'{d}/ctl')
    deadline = time.monotonic() + harness.WAIT
    while client.job()['x-copied'] < 5 * MIB // 2:  # more than one run, or none of it may have been kept
        check(time.monotonic() < deadline, f'nothing is copied: {client.job()}')
        time.sleep(0.02)
    client.ask('block-job-cancel', device=top)
    client.event('BLOCK_JOB_CANCELLED')
    kept = field(client.ask('x-query-job')[0], 'bytes', 'copied')
    check(kept >= MIB, f'{kept} bytes were kept')
    marked = bp('info', '--json', '--force-share', top).json()
    same(field(marked, 'format-specific', 'data', 'mixed'), False, 'it is marked already')
    how(f'{d}/base.img')
    ended_well(process)
    judge_mark(top, wanted)


if __name__ == '__main__':
    harness.main()
