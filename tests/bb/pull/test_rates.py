# SPDX-License-Identifier: MIT OR Apache-2.0
"""What an operator asks of a pull's rate: so many requests a second, done within a time, no less than so much.

Requests are counted by strace, not by the program. Too fast is always a fault; too slow may be the machine, so the best of three
counts there.
"""
import re
import time

import harness
import images
import strace
from harness import DONE, FAILED, MIB, USAGE, bp, case, check, note, same
from images import overlay, raw_image


def islands(path, n, step=MIB, size=65536):
    """n islands of data that lie apart: a read and, merged at most, a write each."""
    return raw_image(path, n * step, *((i * step, size) for i in range(n)))


@case('400 requests a second, as strace counts them')
def iops(d):
    flat = islands(f'{d}/base.img', 600)
    top = overlay(f'{d}/top.img', 'base.img')
    result, lines = strace.run(harness.blockpull, 'pull', '--iops=400', '--json', '--no-sandbox', '--io=threads', top,
                               trace='pread64,preadv,preadv2,pwrite64,pwritev,pwritev2', options=['-y', '-ttt'])
    same(result.rc, DONE, str(result))
    calls = []
    for line in lines:
        found = re.match(r'\d+\s+([\d.]+) (p\w+)\(\d+<([^>]*)>', line)
        if found and (found[3].endswith('base.img') or found[2].startswith('pwrite')):
            calls.append(float(found[1]))
    check(len(calls) > 900, f'{len(calls)} requests')
    seconds = max(calls) - min(calls)
    note(f'{len(calls)} requests in {seconds:.3f} s: {len(calls) / seconds:.1f} a second')
    # A tenth of a second's may be made at once. Tables are written, too, and not counted by the limit: a few in a hundred.
    check(len(calls) < 400 * (seconds + 0.1) * 1.05, 'more than the limit allows')
    check(len(calls) / seconds > 400 * 0.8, 'far less than the limit allows')
    images.judge_pulled(top, 'qcow2', flat)


@case('64 MiB within 8 s, and holes beside them')
@case('a bandwidth that would be too late is raised', '--bandwidth=1M')
@case('a bandwidth that would be too late is raised, in clusters of 2 MiB', 'cluster_size=2M')
def within(d, *args):
    flat = raw_image(f'{d}/base.img', 512 * MIB, *((i * 64 * MIB, 8 * MIB) for i in range(8)))
    options = [arg for arg in args if not arg.startswith('--')]
    args = [arg for arg in args if arg.startswith('--')]
    measured = []
    while len(measured) < 3 and not (measured and min(measured) <= 8 * 1.02):
        top = overlay(f'{d}/top{len(measured)}.img', 'base.img', 'qcow2', *options)
        result = bp('pull', '--within=8', '--json', *args, top)
        measured.append(result.json()['seconds'])
        note(f'{measured[-1]:.3f} s of 8')
        check(measured[-1] >= 8 * 0.98, 'it was faster than it had to be')
        images.judge_pulled(top, 'qcow2', flat)
    check(min(measured) <= 8 * 1.02, f'best of three was {min(measured):.3f} s')


@case('a time that is too short is told of, and the pull goes on')
def late(d):
    raw_image(f'{d}/base.img', 8 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    result = bp('pull', '--within=1', '--iops=4', '--json', top)
    same(len(re.findall("can't be done within 1 s: it would need", result.err)), 1, result.err)
    check(result.json()['seconds'] > 1, str(result))
    top = overlay(f'{d}/top2.img', 'base.img')
    result = bp('pull', '--min-rate=1G', '--bandwidth=1K', '--iops=4', '--json', '--progress=plain', top)
    check('  limit 1024 MiB/s' in result.err, f'progress tells of another limit than holds: {result.err}')
    same(len(re.findall(r'does not reach 1 GiB/s \(--min-rate\)', result.err)), 1, result.err)


@case('a pull is told otherwise while it runs')
def changed(d):
    raw_image(f'{d}/base.img', 32 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    pull = harness.start(harness.blockpull, 'pull', '--iops=2', f'--control={d}/c', '--json', top)
    while bp('ctl', f'{d}/c', 'info', rc=(DONE, FAILED)).rc != DONE:
        time.sleep(0.05)
    job = bp('ctl', '--json', f'{d}/c', 'info').json()
    same((job['iops'], job['within'], job['min-rate'], job['late']), (2, None, 0, False), 'the job')
    bp('ctl', f'{d}/c', 'min-rate', '1M')
    bp('ctl', f'{d}/c', 'within', '5')
    began = time.monotonic()
    bp('ctl', f'{d}/c', 'iops', '0')
    job = bp('ctl', '--json', f'{d}/c', 'info').json()
    same((job['iops'], job['within'], job['min-rate']), (0, 5.0, MIB), 'the job')
    check(job['needed-rate'] > 4 * MIB and job['limit'] >= job['needed-rate'] * 0.5, str(job))
    text = bp('ctl', f'{d}/c', 'info').out
    check('within 5 s' in text and 'at least 1 MiB/s' in text and 'requests/s' not in text, text)
    result = harness.finish(pull, 60)
    same(result.rc, DONE, str(result))
    seconds = time.monotonic() - began
    note(f'{seconds:.3f} s of 5')
    check(4.5 < seconds, 'it was faster than it had to be')


@case('what can be known to be wrong is said before anything is done')
def refused(d):
    for args, words in ((('--within=5x',), 'units are'), (('--within=',), 'begins with a digit'), (('--iops=-1',), 'not a number'),
                        (('--iops=1k',), 'not a number'), (('--min-rate=x',), 'digit'),
                        (('--within=5', '--bandwidth=1M', '-j2'), 'give one of the two')):
        result = bp('pull', *args, f'{d}/none.img', rc=USAGE)
        check(words in result.err, f'{args}: {result.err}')
    for args, words in ((('within', 'x'), 'begins with a digit'), (('iops', '1.5'), 'not a number'), (('iops',), 'needs one number'),
                        (('min-rate', '1b'), 'min-rate'), (('within', '5', '6'), 'needs one time')):
        result = bp('ctl', f'{d}/none', *args, rc=USAGE)
        check(words in result.err, f'{args}: {result.err}')


if __name__ == '__main__':
    harness.main()
