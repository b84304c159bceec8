# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a pull makes durable, and when, as strace sees it.

A kill cannot show a missing flush, because the page cache outlives the process; the order of the
calls can. Only the threads backend is watched: what io_uring submits is hidden from strace, and
the order is decided above both. Two promises: the link is dropped by a write of its own, between
two flushes; and flushes are few, at most 20 a GiB.
"""
import harness
import images
import strace
from harness import DONE, MIB, case, check, note
from images import overlay, raw_image

FLUSHES = 'fdatasync', 'fsync'


def traced(d, fmt, options, size):
    """The calls on the image of a pull, in the order they returned: (name, offset or None)."""
    flat = raw_image(f'{d}/base.img', size)
    top = overlay(f'{d}/top.img', 'base.img', fmt, options)
    result, log = strace.run(harness.blockpull, 'pull', '--io=threads', top, options=['-y', '-s', '0'], timeout=180,
                             trace='pwrite64,pwritev,pwritev2,write,writev,fdatasync,fsync,ftruncate,fallocate')
    check(result.rc == DONE, str(result))
    images.judge_pulled(top, fmt, flat)
    return list(calls_on(top, log))


def calls_on(path, log):
    for line in strace.whole_calls(log):
        call = strace.FILE_CALL.search(line)
        if call and call[3] == path:
            arguments = call[4].rpartition(')')[0].split(', ')
            offset = {'pwrite64': -1, 'pwritev': -1, 'pwritev2': -2}.get(call[1])
            yield call[1], int(arguments[offset]) if offset else None


@case('the link is dropped between two flushes', 'qcow2', None)
@case('the link is dropped between two flushes, small clusters', 'qcow2', 'cluster_size=512')
@case('the link is dropped between two flushes, QED', 'qed', None)
def link_drop(d, fmt, options):
    calls = traced(d, fmt, options, 4 * MIB)
    check(calls, 'strace saw nothing')
    names = [name for name, _ in calls]
    note(f'{len(calls)} calls on the image, {sum(n in FLUSHES for n in names)} flushes')
    check(names[-1] in FLUSHES, f'the last call is no flush: {calls[-4:]}')
    last_write = max(i for i, name in enumerate(names) if name not in FLUSHES)
    where = calls[last_write][1]
    check(where is not None and where < 512, f'the last write is not to the header: {calls[-4:]}')
    check(names[last_write - 1] in FLUSHES, f'no flush just before the link is dropped: {calls[-6:]}')


@case('what cannot be written uncached is written back early')
def early(d):
    """Or the first flush would have to write it all."""
    flat = raw_image(f'{d}/base.img', 40 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    _, log = strace.run(harness.blockpull, 'pull', '--io=threads', top, options=['-y', '-s', '0'], timeout=180,
                        trace='sync_file_range,pwritev2', inject=['pwritev2:error=EOPNOTSUPP'])
    images.judge_pulled(top, 'qcow2', flat)
    begun = [line for line in log if 'sync_file_range(' in line and f'<{top}>' in line]
    note(f'{len(begun)} times for 40 MiB')
    check(3 <= len(begun) <= 6, f'write-back was begun {len(begun)} times for 40 MiB')


@case('at most 20 flushes a GiB')
def budget(d):
    calls = traced(d, 'qcow2', None, 256 * MIB)
    flushes = sum(name in FLUSHES for name, _ in calls)
    note(f'{flushes} flushes for 256 MiB')
    check(flushes <= 20 // 4 + 5, f'{flushes} flushes: more than 20 a GiB and 5 for the end')


if __name__ == '__main__':
    harness.main()
