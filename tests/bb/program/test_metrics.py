# SPDX-License-Identifier: MIT OR Apache-2.0
"""--metrics-file: what it says is true, each look at it finds a whole file, and it never harms a pull.

It is read as fast as can be while pulls run, each time with a parser that minds everything (prometheus.py). The
numbers are compared with those of --json.
"""
import os
import signal
import struct
import time

import harness
import images
import reach
import prometheus
from harness import CORRUPT, DONE, FAILED, MIB, USAGE, bp, case, check, refused, same
from images import Untouched, overlay, raw_image
from prometheus import label, value

FILE = 'm.prom'


def chain(d, size=MIB, name='top.img'):
    if not os.path.exists(f'{d}/base.img'):
        raw_image(f'{d}/base.img', size)
    return overlay(f'{d}/{name}', 'base.img')


def only_file(d):
    left = [name for name in os.listdir(d) if name.startswith(FILE)]
    same(left, [FILE], 'files of metrics')


@case('what it says at the end is what --json says')
@case('what it says at the end is what --json says, threads', '--io=threads')
@case('what it says at the end is what --json says, without the sandbox', '--no-sandbox')
def at_the_end(d, *args):
    names = [chain(d, 2 * MIB, f'v{i}') for i in range(3)]
    images.qemu_io(names[1], 'qcow2', 'write -P 3 0 64k')
    before = time.time()
    lines = bp('pull', '--json', *args, '--metrics-file', f'{d}/{FILE}', '-j2', *names).lines()
    found = prometheus.read(f'{d}/{FILE}')
    for line in lines:
        name = line['filename']
        same(label(found, 'blockpull_image_state', 'state', image=name), line['status'], f'{name}: state')
        same(value(found, 'blockpull_image_exit_code', image=name), line['exit-code'], f'{name}: exit code')
        same(label(found, 'blockpull_image_exit_code', 'class', image=name), line['exit-class'], f'{name}: class')
        for kind in 'copied', 'cloned', 'zero':
            same(value(found, f'blockpull_image_{kind}_bytes_total', image=name), line['bytes'][kind], f'{name}: {kind}')
        check(abs(value(found, 'blockpull_image_seconds', image=name) - line['seconds']) < 0.01, f'{name}: seconds')
        same(value(found, 'blockpull_image_size_bytes', image=name), 2 * MIB, f'{name}: size')
        same(value(found, 'blockpull_image_position_bytes', image=name), 2 * MIB, f'{name}: position')
    same(value(found, 'blockpull_images', state='done'), 3, 'images done')
    same(value(found, 'blockpull_running'), 0, 'running')
    same(value(found, 'blockpull_exit_code'), 0, 'exit code')
    check(before - 1 <= value(found, 'blockpull_start_time_seconds')
          <= value(found, 'blockpull_update_time_seconds') <= time.time() + 1, 'times')
    check(bp('--version').out.split()[1] == label(found, 'blockpull_build_info', 'version'), 'version')
    only_file(d)


def watch(path):
    """Reads the file until it says that the command has ended; returns each state of it that was seen."""
    seen, last, deadline = [], None, time.monotonic() + harness.WAIT
    while not (seen and value(seen[-1], 'blockpull_running') == 0):
        check(time.monotonic() < deadline, f'it never ends: {seen[-1:]}')
        try:
            found = prometheus.read(path)
        except FileNotFoundError:
            check(not seen, 'the file was gone for a moment')
            continue
        if found != last:
            seen.append(found)
        last = found
        time.sleep(0.002)
    return seen


@case('the file is whole at every moment, in the sandbox')
@case('the file is whole at every moment, without the sandbox', '--no-sandbox')
def while_running(d, *args):
    top = chain(d, 16 * MIB)
    process = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=2500K', *args, '--metrics-file', f'{d}/{FILE}', top)
    seen = watch(f'{d}/{FILE}')
    same(harness.finish(process).rc, DONE, 'exit code')
    check(len(seen) >= 3, f'{len(seen)} states in 6 s: it is not kept up to date')
    copied = [value(found, 'blockpull_image_copied_bytes_total', image=top) for found in seen
              if any(name == 'blockpull_image_copied_bytes_total' for name, _, _ in found)]
    same(copied, sorted(copied), 'bytes copied never fall')
    middle = seen[-2]
    same(value(middle, 'blockpull_running'), 1, 'running')
    same(label(middle, 'blockpull_image_state', 'state', image=top), 'running', 'state')
    check(0 < value(middle, 'blockpull_image_copied_bytes_total', image=top) < 16 * MIB, 'copied in the middle')
    rate = value(middle, 'blockpull_image_rate_bytes_per_second', image=top)
    check(1500 << 10 < rate < 4000 << 10, f'a rate of {rate} under a limit of {2500 << 10}')
    same([name for name, _, _ in middle if name.endswith('exit_code')], [], 'exit codes before the end')
    same([name for name, _, _ in prometheus.read(f'{d}/{FILE}') if 'rate' in name], [], 'rates after the end')
    only_file(d)


@case('names with any bytes in them')
def names(d):
    wanted = ['quote"s', 'back\\slash', 'two\nlines', 'both\\"\n\\n', 'grün', 'braces}{,=', b'bad\xff\xfeutf8']
    tops = []
    raw_image(f'{d}/base.img', 65536)
    for name in wanted:
        path = os.path.join(os.fsencode(d), os.fsencode(name))
        tops.append(path)
        bp('create', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', os.fsdecode(path))
    bp('pull', '--metrics-file', f'{d}/{FILE}', *map(os.fsdecode, tops))
    found = prometheus.read(f'{d}/{FILE}')
    for name in wanted:
        shown = 'bad\\xff\\xfeutf8' if isinstance(name, bytes) else name
        same(value(found, 'blockpull_image_exit_code', image=f'{d}/{shown}'), 0, repr(name))


@case('a name that is given twice has one line')
def twice(d):
    one, two = chain(d), chain(d, name='two')
    bp('pull', '--metrics-file', f'{d}/{FILE}', one, two, one)
    found = prometheus.read(f'{d}/{FILE}')
    same(value(found, 'blockpull_image_copied_bytes_total', image=one), MIB, 'of the first')
    same(value(found, 'blockpull_images', state='done'), 3, 'images done')


@case('the files of two commands can be read as one')
def two_files(d):
    """As node_exporter reads those of a directory: a series that comes twice is an error there."""
    one, two = chain(d), chain(d, name='two')
    bp('pull', '--metrics-file', f'{d}/a.prom', one)
    bp('pull', '--metrics-file', f'{d}/b"c.prom', one, two)
    found = prometheus.read(f'{d}/a.prom') + prometheus.read(f'{d}/b"c.prom')
    series = [(name, *sorted(labels.items())) for name, labels, _ in found]
    same(len(set(series)), len(series), 'series')
    same(value(found, 'blockpull_images', file='b"c.prom', state='done'), 2, 'images done')


@case('images that failed have their exit codes')
def failed(d):
    good, bad = chain(d), chain(d, name='bad')
    images.patch(bad, 40, struct.pack('>Q', 1 << 40))
    bp('pull', '--metrics-file', f'{d}/{FILE}', f'{d}/gone', bad, good, rc=FAILED)
    found = prometheus.read(f'{d}/{FILE}')
    for name, code, kind in (f'{d}/gone', FAILED, 'failed'), (bad, CORRUPT, 'corrupt'), (good, DONE, 'done'):
        same(value(found, 'blockpull_image_exit_code', image=name), code, name)
        same(label(found, 'blockpull_image_exit_code', 'class', image=name), kind, name)
    same(value(found, 'blockpull_images', state='failed'), 2, 'failed')
    same(value(found, 'blockpull_images', state='done'), 1, 'done')
    same(value(found, 'blockpull_exit_code'), FAILED, 'exit code')


@case('a stop leaves images that were not tried')
def stopped(d):
    tops = [chain(d, 8 * MIB), chain(d, name='second')]
    process = harness.start(harness.blockpull, 'pull', '--bandwidth=1M', '--progress=json', '--metrics-file', f'{d}/{FILE}', *tops)
    check(harness.lines_of(process, lambda line: line.get('cur')), 'it has ended already')
    found = prometheus.read(f'{d}/{FILE}')
    same([label(found, 'blockpull_image_state', 'state', image=top) for top in tops], ['running', 'untried'], 'states')
    harness.kill(process, signal.SIGINT)
    same(harness.finish(process).rc, 130, 'exit code')
    found = prometheus.read(f'{d}/{FILE}')
    same([label(found, 'blockpull_image_state', 'state', image=top) for top in tops], ['canceled'] * 2, 'states')
    same(value(found, 'blockpull_exit_code'), 130, 'exit code in the file')
    same(value(found, 'blockpull_running'), 0, 'running')


@case('a killed pull leaves a whole file, and the next one goes on with it')
def killed(d):
    top = chain(d, 8 * MIB)
    for delay in range(6):
        process = harness.start(harness.blockpull, 'pull', '--bandwidth=1M', '--metrics-file', f'{d}/{FILE}', top)
        time.sleep(0.02 * delay)
        process.kill()
        harness.finish(process)
        images.settle(top)
        if os.path.exists(f'{d}/{FILE}'):
            prometheus.read(f'{d}/{FILE}')
    with open(f'{d}/{FILE}.tmp', 'w', encoding='ascii') as file:
        file.write('# HELP blockpull_build_info The ver')
    bp('pull', '--metrics-file', f'{d}/{FILE}', top)
    same(value(prometheus.read(f'{d}/{FILE}'), 'blockpull_images', state='done'), 1, 'done')
    only_file(d)


def warned(result, times=1):
    same(result.rc, DONE, f'exit code: {result}')
    same(result.err.count('warning: --metrics-file'), times, f'warnings: {result}')


@case('a file that can not be made is a warning')
def unwritable(d):
    top = chain(d)
    warned(bp('pull', '--metrics-file', f'{d}/no/such/{FILE}', top))
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')


@case('a directory that goes away meanwhile is one warning')
def vanished(d):
    top = chain(d, 8 * MIB)
    os.mkdir(f'{d}/dir')
    process = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=2M', '--metrics-file', f'{d}/dir/{FILE}', top)
    while not os.path.exists(f'{d}/dir/{FILE}'):
        check(process.poll() is None, 'it has ended already')
        time.sleep(0.01)
    os.rename(f'{d}/dir', f'{d}/aside')
    warned(harness.finish(process))
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')
    prometheus.read(f'{d}/aside/{FILE}')


FULL = r'''
set -e
mount -t tmpfs -o size=64k none "$1/small"
"$2" pull --metrics-file "$1/small/m.prom" "$1/first"
head -c 1 "$1/small/m.prom" >/dev/null
cp "$1/small/m.prom" "$1/before"
dd if=/dev/zero of="$1/small/fill" bs=4k 2>/dev/null || true
rc=0; "$2" pull -q --metrics-file "$1/small/m.prom" "$1/top.img" || rc=$?
cmp "$1/small/m.prom" "$1/before" || { echo "the old file was harmed"; exit 1; }
[ "$(ls "$1/small" | tr '\n' ' ')" = "fill m.prom " ] || { ls -l "$1/small"; exit 1; }
umount "$1/small"
exit $rc
'''


@case('a full disk is a warning, and the last file stays')
def full_disk(d):
    namespace = reach.mounting(f'{d}/small')
    top, _ = chain(d), chain(d, name='first')
    result = harness.run(*namespace, 'sh', '-c', FULL, 'sh', d, harness.blockpull)
    warned(result)
    check('No space' in result.err, result.err)
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')


@case('metrics replace nothing but a file of their own')
def nothing_else(d):
    top, base = chain(d), f'{d}/base.img'
    os.symlink(base, f'{d}/link')
    os.symlink('gone', f'{d}/dangling')
    os.mkfifo(f'{d}/fifo')
    with open(f'{d}/text', 'w', encoding='ascii') as file:
        file.write('# HELP node_cpu Of another program.\n')
    before = Untouched(top, base, f'{d}/text')
    for name in (top, base, f'{d}/text', f'{d}/link', f'{d}/dangling', f'{d}/fifo', d, '/dev/null', '/dev/stdout', ''):
        refused(USAGE, ['--metrics-file'], 'pull', f'--metrics-file={name}', top)
    before.verify('although it was refused')
    check(os.path.islink(f'{d}/link') and not os.path.isfile('/dev/null'), 'a file took their place')
    with open(f'{d}/{FILE}', 'w', encoding='ascii'):
        pass
    bp('pull', '--metrics-file', f'{d}/{FILE}', top)
    bp('pull', '--metrics-file', f'{d}/{FILE}', top)
    prometheus.read(f'{d}/{FILE}')


@case('what has the name under which it is written first stays')
def nothing_else_first(d):
    """FILE.tmp may be an image, also the one that is pulled."""
    chain(d)
    tops = [chain(d, name=f'{name}.tmp') for name in ('one', 'two')]
    os.symlink('base.img', f'{d}/link.tmp')
    os.mkdir(f'{d}/dir.tmp')
    before = Untouched(*tops)
    for name in 'one', 'two', 'link', 'dir':
        refused(USAGE, ['--metrics-file', f'{name}.tmp'], 'pull', f'--metrics-file={d}/{name}', tops[0])
    before.verify('although it was refused')
    check(os.path.islink(f'{d}/link.tmp'), 'the link is gone')


@case('a dry run writes no metrics')
def dry_run(d):
    bp('pull', '-n', '--metrics-file', f'{d}/{FILE}', chain(d))
    check(not os.path.exists(f'{d}/{FILE}'), 'it wrote one')


@case('others may read the file')
def mode(d):
    bp('pull', '--metrics-file', f'{d}/{FILE}', chain(d), umask=0o022)
    same(oct(os.stat(f'{d}/{FILE}').st_mode & 0o777), '0o644', 'mode')


if __name__ == '__main__':
    harness.main()
