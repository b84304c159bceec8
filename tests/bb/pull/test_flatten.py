# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull flatten: a new file of the guest's disk, all of it or none, and nothing else touched."""
import os
import signal
import sys
import time

import harness
import images
import reach
import strace
from chains import Chain
from harness import FAILED, KIB, MIB, REFUSED, USAGE, Failed, bp, case, check, refused, same
from images import Untouched, overlay, pair, qemu_img, raw_image
from test_random_chains import seeds

FORMATS = [('raw', []), ('qcow2', []), ('qcow2', ['-o', 'cluster_size=4k,refcount_bits=64']), ('qed', []),
           ('qcow2', ['-o', 'compat=0.10,cluster_size=2M']), ('qed', ['-o', 'cluster_size=4k,table_size=2']),
           ('qcow2', ['--compress']), ('qcow2', ['--compress=zstd:1', '-o', 'compression_type=zstd'])]


def only(directory, before, *new):
    same(sorted(os.listdir(directory)), sorted(before + list(new)), 'what is in the directory')


def judge(out, fmt, flat):
    """The same content, consistent, alone."""
    info = images.image_info(out)
    check('backing-filename' not in info, f'it has a backing file: {info}')
    same(info['format'], fmt, 'format')
    if fmt != 'raw':
        same(images.image_check(out, fmt), 0, 'exit code of qemu-img check')
    result = qemu_img('compare', '-f', fmt, '-F', 'raw', out, flat, rc=range(256))
    check(result.rc == 0, f'content: {result}')


def flatten_and_judge(directory, seed):
    chain = Chain(directory, seed)
    fmt, extra = chain.rng.choice(FORMATS)
    flat = images.flatten(chain.top.path, chain.top.fmt, f'{directory}/flat')
    untouched, before = Untouched(*(layer.path for layer in chain.layers)), os.listdir(directory)
    options = [a for a in chain.args if not a.startswith('-f')] + extra + [f'--io={chain.rng.choice(["auto", "threads"])}']
    try:
        bp('flatten', '-f', fmt, *options, chain.top.path, f'{directory}/out')
        judge(f'{directory}/out', fmt, flat)
        untouched.verify('by flattening')
        only(directory, before, 'out')
    except Failed as error:
        raise Failed(f'{error}\n-f {fmt} {options}\n{chain}\n'
                     f'again: BB_SEEDS={seed}-{seed} {sys.executable} {sys.argv[0]} {harness.blockpull}') from None


@case('a raw file of odd length stays one')
def odd(d):
    raw_image(f'{d}/odd', MIB + 77)
    bp('flatten', f'{d}/odd', f'{d}/out')
    same(images.digest(f'{d}/out'), images.digest(f'{d}/odd'), 'bytes')
    bp('flatten', '-f', 'qed', '-o', 'table_size=2', f'{d}/odd', f'{d}/out.qed')
    bp('flatten', '-f', 'raw', f'{d}/out.qed', f'{d}/back')
    with open(f'{d}/back', 'rb') as back, open(f'{d}/odd', 'rb') as was:
        same(back.read(), was.read() + bytes(512 - 77), 'bytes by way of QED')


@case('an overlay on a raw file of odd length')
def odd_base(d):
    raw_image(f'{d}/base', MIB + 77)
    top = overlay(f'{d}/top', 'base', size=2 * MIB)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    for fmt in 'raw', 'qcow2', 'qed':
        bp('flatten', '-f', fmt, top, f'{d}/out.{fmt}')
        judge(f'{d}/out.{fmt}', fmt, flat)
    same(os.path.getsize(f'{d}/out.raw'), 2 * MIB, 'length')


@case('as sparse as qemu-img convert makes it, and every byte of the disk is counted')
def sparse(d):
    raw_image(f'{d}/base', 1 << 30, (0, 70000), (500 * MIB, 4096), ((1 << 30) - 512, 512))
    top = overlay(f'{d}/top', 'base')
    for fmt in 'raw', 'qcow2', 'qed':
        counts = bp('flatten', '-f', fmt, '--json', top, f'{d}/out').json()['bytes']
        same(sum(counts[n] for n in ('copied', 'zero', 'skipped')), 1 << 30, f'bytes counted, {fmt}')
        qemu_img('convert', '-O', fmt, top, f'{d}/theirs')
        ours, theirs = (os.stat(f'{d}/{n}').st_blocks * 512 for n in ('out', 'theirs'))
        check(ours <= theirs + 256 * KIB, f'{fmt}: {ours} bytes, qemu-img takes {theirs}')
        os.unlink(f'{d}/out')


@case('only the active disk of an image with snapshots')
def snapshots(d):
    top, _ = pair(d)
    qemu_img('snapshot', '-c', 's', top)
    images.qemu_io(top, 'qcow2', 'write -P 1 0 300k')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    bp('flatten', top, f'{d}/out')
    judge(f'{d}/out', 'qcow2', flat)
    check('snapshots' not in images.image_info(f'{d}/out'), 'it has a snapshot')


@case('refused: nothing is made and nothing is touched')
def refusals(d):
    top, base = pair(d)
    raw_image(f'{d}/there', 4096)
    os.symlink('nowhere', f'{d}/dangling')
    before, names = Untouched(top, base, f'{d}/there'), os.listdir(d)
    for rc, words, *argv in (
            (FAILED, ['there', 'exists'], top, f'{d}/there'), (FAILED, ['top.img', 'exists'], top, top),
            (FAILED, ['base.img', 'exists'], top, base), (FAILED, ['dangling', 'exists'], top, f'{d}/dangling'),
            (FAILED, ['exists'], top, d), (FAILED, ['no/out', 'directory'], top, f'{d}/no/out'),
            (FAILED, ['gone'], f'{d}/gone', f'{d}/out'), (USAGE, ['needed'], top),
            (USAGE, ['compress'], '--compress', '-f', 'raw', top, f'{d}/out'),
            (USAGE, ['table_size'], '-f', 'qcow2', '-o', 'table_size=2', top, f'{d}/out'),
            (REFUSED, ['--allow-backing'], '--allow-backing=none', top, f'{d}/out'),
            (USAGE, ['--fromat'], '--fromat=raw', top, f'{d}/out')):
        refused(rc, words, 'flatten', *argv)
        only(d, names)
    before.verify('although it was refused')


@case('--compress of an image that is raw or QED')
def compress_default(d):
    raw_image(f'{d}/base', MIB)
    names = os.listdir(d)
    refused(REFUSED, ['raw', 'compressed'], 'flatten', '--compress', f'{d}/base', f'{d}/out')
    only(d, names)


FULL = r'''
set -e
mount -t tmpfs -o size=8m none "$1/small"
rc=0; "$2" flatten --io="$4" --allow-backing=any -f "$3" "$1/top.img" "$1/small/out" || rc=$?
[ $rc = 7 ] || { echo "exit code $rc, wanted 7"; exit 1; }
[ -z "$(ls -A "$1/small")" ] || { ls -lA "$1/small"; exit 1; }
umount "$1/small"
'''


@case('a full disk leaves nothing behind', 'raw', 'auto')
@case('a full disk leaves nothing behind, qcow2', 'qcow2', 'threads')
@case('a full disk leaves nothing behind, QED', 'qed', 'auto')
def full_disk(d, fmt, io):
    namespace = reach.mounting(f'{d}/small')
    raw_image(f'{d}/base.img', 24 * MIB)
    overlay(f'{d}/top.img', 'base.img')
    result = harness.run(*namespace, 'sh', '-c', FULL, 'sh', d, harness.blockpull, fmt, io)
    check(result.rc == 0, str(result))
    check('kept' not in result.err and 'room' in result.err, f'wrong advice: {result.err}')
    check('/out' in result.err and '.blockpull-' not in result.err, f'another file than was named: {result.err}')


@case('stopped by SIGINT: nothing is left', signal.SIGINT)
@case('stopped by SIGTERM: nothing is left', signal.SIGTERM)
def stopped(d, sig):
    raw_image(f'{d}/base.img', 8 * MIB)
    top, names = overlay(f'{d}/top.img', 'base.img'), os.listdir(d)
    process = harness.start(harness.blockpull, 'flatten', '--bandwidth=256K', top, f'{d}/out')
    while len(os.listdir(d)) < len(names) + 1:
        check(process.poll() is None, 'it has ended already')
        time.sleep(0.01)
    process.send_signal(sig)
    result = harness.finish(process)
    same(result.rc, 128 + sig, 'exit code')
    check('was not made' in result.err, result.err)
    only(d, names)


@case('killed: the file is there whole, or not at all')
def killed(d):
    raw_image(f'{d}/base.img', 24 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    for delay in range(12):
        process = harness.start(harness.blockpull, 'flatten', '-f', ['raw', 'qcow2', 'qed'][delay % 3], top, f'{d}/out')
        time.sleep(0.006 * delay)
        process.kill()
        process.wait()
        if os.path.exists(f'{d}/out'):
            images.settle(f'{d}/out')
            judge(f'{d}/out', ['raw', 'qcow2', 'qed'][delay % 3], flat)
            os.unlink(f'{d}/out')
        for name in os.listdir(d):
            if '.blockpull-' in name:
                check(name.startswith('.out.blockpull-'), f'a strange name: {name}')
                os.unlink(f'{d}/{name}')
        images.settle(top)


@case('the name is given when all is on disk, and is durable')
def order(d):
    top, _ = pair(d)
    result, log = strace.run(harness.blockpull, 'flatten', '--io=threads', '-f', 'raw', top, f'{d}/out',
                             trace='fsync,fdatasync,renameat2,rename,link,linkat,pwrite64,pwritev2,ftruncate')
    same(result.rc, 0, f'exit code: {result}')
    calls = [line.split(None, 1)[1].split('(')[0] for line in strace.whole_calls(log) if '(' in line]
    # The first one only tries whether a file can be renamed here.
    given = max(i for i, call in enumerate(calls) if call in ('renameat2', 'link', 'linkat'))
    check(calls[given - 1] in ('fdatasync', 'fsync'), f'not durable before it has its name: {calls}')
    check('fsync' in calls[given + 1:], f'its directory is not synced: {calls}')
    check(not any('write' in call or call == 'ftruncate' for call in calls[given:]), f'written to afterwards: {calls}')


if __name__ == '__main__':
    print(f'# seeds {seeds().start} to {seeds().stop - 1}')
    for number in seeds():
        harness.cases.append((f'random flattening, seed {number}', flatten_and_judge, (number,)))
    harness.main(workers=2)
