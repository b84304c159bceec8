# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull snapshot: what QEMU takes for an overlay of its own, the image below untouched; and what is refused
makes nothing.
"""
import os
import re

import harness
import images
import strace
from harness import CORRUPT, DONE, FAILED, LOCKED, MIB, REFUSED, USAGE, bp, case, check, refused, same
from images import Untouched, image_check, image_info, overlay, qemu_img, qemu_io, raw_image

MAKES = [('qcow2', None), ('qcow2', 'cluster_size=512'), ('qcow2', 'cluster_size=2M'), ('qcow2', 'compat=0.10'),
         ('qcow2', 'refcount_bits=1'), ('qcow2', 'lazy_refcounts=on,compression_type=zstd'), ('qed', None),
         ('qed', 'cluster_size=4K,table_size=2')]


def old(d, fmt, size=3 * MIB):
    """An image of that format with some data, over a base if it can have one; and the words that say its format."""
    raw_image(f'{d}/base.img', 2 * MIB, (MIB, 300000))
    if fmt == 'raw':
        return f'{d}/base.img', ['--source-format=raw']
    overlay(f'{d}/old.img', 'base.img', fmt, size=str(size))
    qemu_io(f'{d}/old.img', fmt, 'write -P 1 0 70k', 'write -P 2 1100k 10k')
    return f'{d}/old.img', []


@case('QEMU takes it for its own: over qcow2', 'qcow2')
@case('QEMU takes it for its own: over QED', 'qed')
@case('QEMU takes it for its own: over raw', 'raw')
def made(d, fmt):
    path, args = old(d, fmt)
    flat, before = images.flatten(path, fmt, f'{d}/flat'), Untouched(path)
    for new_fmt, options in MAKES:
        new = f'{d}/new.img'
        said = bp('snapshot', *args, '-f', new_fmt, *(['-o', options] if options else []), path, new)
        check('new.img' in said.err and os.path.basename(path) in said.err, said)
        same(image_check(new, new_fmt), 0, f'qemu-img check of {options}')
        info = image_info(new)
        same((info['format'], info['backing-filename']), (new_fmt, os.path.basename(path)), options)
        same(info.get('backing-filename-format'), fmt if new_fmt == 'qcow2' or fmt == 'raw' else None, options)
        if new_fmt == 'qcow2' or fmt == 'raw':
            images.compare_flat(new, new_fmt, flat, 'by the snapshot')
        qemu_img('create', '-q', '-f', new_fmt, *(['-o', options] if options else []), f'{d}/theirs', '3M')
        same(info.get('format-specific'), image_info(f'{d}/theirs').get('format-specific'), f'details of {options}')
        qemu_io(new, new_fmt, 'write -P 9 0 2M')
        before.verify('by what was written to the snapshot')
        os.unlink(new)


@case('a size inside a sector becomes whole, as QEMU has it')
def odd(d):
    raw_image(f'{d}/base.img', MIB + 1000)
    same(bp('snapshot', '--json', '--source-format=raw', f'{d}/base.img', f'{d}/new.img').json()['virtual-size'],
         MIB + 1024, 'the size that is told')
    same(image_info(f'{d}/new.img')['virtual-size'], MIB + 1024, 'the size')


@case('one on top of the other, each a state of its own, and pulled')
def many(d):
    path, _ = old(d, 'qcow2')
    flats = [images.flatten(path, 'qcow2', f'{d}/flat0')]
    for n in range(1, 9):
        bp('snapshot', '-q', path if n == 1 else f'{d}/{n - 1}.img', f'{d}/{n}.img')
        qemu_io(f'{d}/{n}.img', 'qcow2', f'write -P {n + 20} {n * 100}k 150k', f'write -z {n * 130}k 30k')
        flats.append(images.flatten(f'{d}/{n}.img', 'qcow2', f'{d}/flat{n}'))
    for n in range(1, 9):
        images.compare_flat(f'{d}/{n}.img', 'qcow2', flats[n], f'of snapshot {n}')
    images.pulled(f'{d}/8.img', 'qcow2')


@case('names: beside, elsewhere, links, colons')
def names(d):
    os.makedirs(f'{d}/a')
    os.makedirs(f'{d}/b')
    os.symlink('a', f'{d}/to-a')
    path, _ = old(f'{d}/a', 'qcow2')
    os.symlink('old.img', f'{d}/a/current')
    os.symlink('../a/old.img', f'{d}/b/current')
    os.symlink('../a/base.img', f'{d}/b/base.img')  # relative names lead from where the image is opened
    os.link(path, f'{d}/a/x:y')
    allow = f'--allow-backing={d}'
    for image, new, wanted in (
            ('a/old.img', 'a/new', 'old.img'), ('to-a/old.img', 'a/new', 'old.img'), ('a/old.img', 'to-a/new', 'old.img'),
            ('a/current', 'a/new', 'old.img'), ('a/old.img', 'b/new', f'{d}/a/old.img'), ('a/x:y', 'a/new', './x:y'),
            ('b/current', 'b/new', 'current'), ('b/current', 'a/new', f'{d}/b/current'), ('a/x:y', 'b/new', f'{d}/a/x:y')):
        said = bp('snapshot', allow, f'{d}/{image}', f'{d}/{new}')
        same(image_info(f'{d}/{new}')['backing-filename'], wanted, f'{image} below {new}')
        same('--allow-backing' in said.err, wanted.startswith('/'), f'the hint about {new}')
        bp('info', '--chain', allow, f'{d}/{new}')
        qemu_io(f'{d}/{new}', 'qcow2', 'read -P 1 0 70k')
        os.unlink(f'{d}/{new}')
    bp('snapshot', '-q', 'old.img', 'new', cwd=f'{d}/a')
    bp('snapshot', '-q', '../a/old.img', 'new', cwd=f'{d}/b')
    same([image_info(f'{d}/{at}/new')['backing-filename'] for at in 'ab'], ['old.img', f'{d}/a/old.img'], 'relative words')


@case('what is refused makes nothing, and a dry run refuses it, too')
def refusals(d):
    path, _ = old(d, 'qcow2')
    raw_image(f'{d}/there', MIB)
    os.makedirs(f'{d}/far/below')
    overlay(f'{d}/far/below/out.img', '../../old.img', base_fmt='qcow2')
    os.symlink('nowhere', f'{d}/dangling')
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/hurt.img', '1M')
    images.patch(f'{d}/hurt.img', 40, b'\xff' * 8)  # the L1 table's place
    before = Untouched(path, f'{d}/there', f'{d}/base.img', f'{d}/hurt.img')
    for rc, words, args in (
            (FAILED, ['there', 'exists'], [path, f'{d}/there']), (FAILED, ['dangling', 'exists'], [path, f'{d}/dangling']),
            (REFUSED, ['base.img', '--source-format=raw'], [f'{d}/base.img', f'{d}/new']),
            (FAILED, ['gone'], [f'{d}/gone', f'{d}/new']), (FAILED, ['no/new', 'directory', 'does not exist'], [path, f'{d}/no/new']),
            (REFUSED, ['old.img', '--allow-backing'], [f'{d}/far/below/out.img', f'{d}/far/new']),
            (CORRUPT, ['hurt.img'], [f'{d}/hurt.img', f'{d}/new']),
            (USAGE, ['new one'], [path]), (USAGE, ['raw'], ['-f', 'raw', path, f'{d}/new']),
            (USAGE, ['table_size'], ['-o', 'table_size=4', path, f'{d}/new']), (USAGE, ['name'], [path, ''])):
        for dry in [], ['-n']:
            refused(rc, words, 'snapshot', *dry, *args)
    refused(USAGE, ['1000'], 'snapshot', '-o', 'cluster_size=1000', path, f'{d}/new')
    check(not os.path.lexists(f'{d}/new') and not os.path.lexists(f'{d}/far/new'), 'something was made')
    before.verify('although the snapshot was refused')


@case('an image that is written to is refused, one that is read is not')
def locked(d):
    path, _ = old(d, 'qcow2')
    user = images.use(path)
    try:
        result = refused(LOCKED, ['old.img'], 'snapshot', path, f'{d}/new')
        check('--force-share' not in result.err, f'it advises an option that there is not: {result}')
        refused(LOCKED, ['--force-share'], 'map', path)
        refused(LOCKED, ['old.img'], 'snapshot', '-n', path, f'{d}/new')
        check(not os.path.exists(f'{d}/new'), 'a snapshot of an image in use')
    finally:
        harness.kill(user)
    images.settle(path)
    reader = harness.start('qemu-io', '-r', '-f', 'qcow2', '-c', 'sleep 60000', path)
    try:
        bp('snapshot', path, f'{d}/new')
        user = images.use(f'{d}/new')  # who reads through it
        bp('snapshot', path, f'{d}/second')
        harness.kill(user)
    finally:
        harness.kill(reader)


@case('it is durable: the file, then its name')
def durable(d):
    path, _ = old(d, 'qcow2')
    for fmt in 'qcow2', 'qed':
        result, lines = strace.run(harness.blockpull, 'snapshot', '-f', fmt, path, f'{d}/new-{fmt}', options=['-y'],
                                   trace='pwrite64,pwritev,pwritev2,fdatasync,fsync,ftruncate')
        same(result.rc, DONE, str(result))
        calls = [match.groups()[:3] for match in map(strace.FILE_CALL.search, strace.whole_calls(lines)) if match]
        calls = [(call, os.path.realpath(name)) for call, _, name in calls if os.path.realpath(name).startswith(os.path.realpath(d))]
        new = f'{os.path.realpath(d)}/'  # it has no name yet, or one for the time being
        check(len(calls) > 2 and calls[-2][0] in ('fdatasync', 'fsync') and calls[-2][1].startswith((f'{new}#', f'{new}.new-')),
              f'before the last: {calls}')
        same(calls[-1], ('fsync', os.path.realpath(d)), 'the last call')
        same([c for c in calls if c[1] == os.path.realpath(path)], [], 'writes to the image below')


@case('killed at each call, it leaves the new image, whole and durable, or none: snapshot', 'snapshot')
@case('killed at each call, where a file must have a name: snapshot', 'snapshot', 'openat:error=EOPNOTSUPP:when=', 'left')
@case('killed at each call: create', 'create')
def killed(d, verb, refused='', left=None):
    path, _ = old(d, 'qcow2')
    args = [path, f'{d}/new.img'] if verb == 'snapshot' else ['-b', path, '-F', 'qcow2', f'{d}/new.img']
    line = [harness.blockpull, verb, '-f', 'qcow2', *args]
    _, lines = strace.run(*line, trace='openat')
    files = set(os.listdir(d)) - {'new.img'}
    opens = [n for n, text in enumerate((text for text in lines if 'openat(' in text), 1) if 'O_TMPFILE' in text]
    try:
        os.close(os.open(d, os.O_TMPFILE | os.O_RDWR))
    except OSError as error:
        raise harness.Skip('no O_TMPFILE on this file system') from error
    os.unlink(f'{d}/new.img')
    refuses = [f'{refused}{n}' for n in opens if refused]
    seen = set()
    for call in 'pwrite64', 'fdatasync', 'fchmod', 'linkat', 'renameat2', 'fsync':
        for nth in range(1, 99):
            result, _ = strace.run(*line, inject=[*refuses, f'{call}:signal=KILL:when={nth}'])
            names = set(os.listdir(d)) - files
            if 'new.img' in names:
                same(images.image_check(f'{d}/new.img', 'qcow2'), 0, 'check')
                images.qemu_io(f'{d}/new.img', 'qcow2', 'read 0 64k')
            rest = names - {'new.img'}
            seen |= {'left'} if rest else set()
            check(all(name.startswith('.new.img.blockpull-') for name in rest), str(rest))
            for name in names:
                os.unlink(f'{d}/{name}')
            if not result.rc:
                break
            seen.add(call)
    same(seen, {'pwrite64', 'fdatasync', 'fchmod', 'fsync', 'renameat2' if left else 'linkat', *([left] if left else [])}, 'what was met')


@case('a file that had no name is synced when it has one, and then its directory')
def synced_by_name(d):
    """btrfs makes nothing durable of a file without a name but its bytes."""
    result, lines = strace.run(harness.blockpull, 'create', '-f', 'qcow2', f'{d}/new.img', '1M', trace='linkat,fdatasync,fsync')
    same(result.rc, DONE, str(result))
    calls = [line.split(None, 1)[1].split('(')[0] for line in strace.whole_calls(lines) if '(' in line]
    if 'linkat' not in calls:
        raise harness.Skip('no O_TMPFILE on this file system')
    same(calls[calls.index('linkat') + 1:], ['fdatasync', 'fsync'], 'what follows the name')


@case('JSON: of a snapshot, of a dry run, of a failure')
def json(d):
    path, _ = old(d, 'qcow2')
    line = bp('snapshot', '--json', '-n', path, f'{d}/new').json()
    same((line['status'], os.path.exists(f'{d}/new')), ('dry-run', False), 'a dry run')
    line = bp('snapshot', '--json', path, f'{d}/new')
    same(line.err, '', 'beside the JSON')
    line = line.json()
    same({k: line[k] for k in ('event', 'filename', 'status', 'exit-code', 'format', 'virtual-size', 'backing-filename',
                               'backing-filename-format')},
         {'event': 'result', 'filename': f'{d}/new', 'status': 'completed', 'exit-code': 0, 'format': 'qcow2',
          'virtual-size': 3 * MIB, 'backing-filename': 'old.img', 'backing-filename-format': 'qcow2'}, 'the line')
    line = bp('snapshot', '--json', path, f'{d}/new', rc=FAILED).json()
    same((line['status'], line['exit-class']), ('failed', 'failed'), 'a failure')
    check(re.search('exists', line['error']), line['error'])


if __name__ == '__main__':
    harness.main(2)
