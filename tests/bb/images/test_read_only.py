# SPDX-License-Identifier: MIT OR Apache-2.0
"""Devices and file systems that can't be written: known before anything starts, and called by their name.

Loop devices stand for LUNs and volumes. Opening one that is read-only for writing succeeds, and every
write fails; other drivers refuse the opening. Needs root.
"""
import contextlib
import os

import harness
import images
from harness import FAILED, MIB, Skip, bp, case, check, need, refused, same
from images import Untouched, overlay, qemu_img, raw_image
from reach import unprivileged


@contextlib.contextmanager
def loop(path, *flags):
    need('losetup', 'blockdev')
    attached = harness.run('losetup', '--find', '--show', *flags, path)
    if attached.rc:
        raise Skip('may not attach a loop device')
    try:
        yield attached.out.strip()
    finally:
        # Else the next that gets this device finds it as it was left.
        harness.run('blockdev', '--setrw', attached.out.strip())
        harness.run('losetup', '--detach', attached.out.strip())


def image_on(d, name, *args):
    """What a device holds: an image of 1 MiB over d/base, and room for a pull."""
    raw_image(f'{d}/base', MIB)
    overlay(f'{d}/image', f'{d}/base', *args)
    with open(f'{d}/image', 'rb') as source, open(f'{d}/{name}', 'wb') as store:
        store.write(source.read())
        store.truncate(16 * MIB)
    return f'{d}/{name}'


def told(d, device, *names):
    allow = f'--allow-backing={d}'
    before = Untouched(f'{d}/store')
    for name in names:
        for verb in ['pull', '-n', allow], ['measure', allow], ['pull', '-q', allow], ['pull', '--direct', '-q', allow], \
                ['check', '--repair=all'], ['check', '--repair=leaks']:
            result = refused(FAILED, [device, name, 'read-only', 'block device', 'blockdev --setrw'], *verb, name)
            check('kept' not in result.err, str(result))
        for verb in ['info', '--chain', allow], ['hash', allow], ['map', allow], ['check']:
            bp(*verb, name)
        refused(FAILED, ['exists'], 'create', '-f', 'qcow2', name, MIB)
    before.verify()


@case('a loop device made read-only', 'qcow2')
@case('a loop device made read-only, QED', 'qed')
def made_read_only(d, fmt):
    store = image_on(d, 'store', fmt)
    with loop(store, '--read-only') as device:
        os.symlink(device, f'{d}/link')
        if fmt == 'qcow2':
            told(d, device, device, f'{d}/link')
        else:
            refused(FAILED, [device, 'read-only'], 'pull', '-n', f'--allow-backing={d}', device)
            refused(FAILED, [device, 'read-only'], 'pull', f'--allow-backing={d}', device)


@case('a device that is set read-only, and back')
def set_read_only(d):
    with loop(image_on(d, 'store')) as device:
        same(harness.run('blockdev', '--setro', device).rc, 0, 'blockdev')
        told(d, device, device)
        same(harness.run('blockdev', '--setrw', device).rc, 0, 'blockdev')
        bp('pull', '-q', f'--allow-backing={d}', device)
        images.image_check(device, 'qcow2')


@case('a base on a read-only device is no obstacle')
def base(d):
    raw_image(f'{d}/store', MIB)
    with loop(f'{d}/store', '--read-only') as device:
        top = overlay(f'{d}/top', device)
        bp('pull', '-n', f'--allow-backing={device}', top)
        bp('pull', '-q', f'--allow-backing={device}', top)
        images.image_check(top, 'qcow2')


@case('an external data file on a read-only device')
def data_file(d):
    raw_image(f'{d}/base', MIB)
    raw_image(f'{d}/store', MIB)
    with loop(f'{d}/store') as device:
        images.qemu_img('create', '-q', '-f', 'qcow2', '-o', f'data_file={device}', '-b', f'{d}/base', '-F', 'raw', f'{d}/top')
        same(harness.run('blockdev', '--setro', device).rc, 0, 'blockdev')
        for verb in ['pull', '-n'], ['measure'], ['pull', '-q']:
            refused(FAILED, [device, 'read-only'], *verb, f'--allow-backing={device}', f'{d}/top')


MOUNTED = r'''
mount --bind "$1/disk" "$1/disk" && mount -o remount,bind,ro "$1/disk" || exit 77
for verb in "pull -n" "pull" "measure" "check --repair=all"; do
    "$2" $verb "$1/disk/top"; echo "$verb: $?" >&2
done
"$2" create -f qcow2 "$1/disk/new" 1M; echo "create: $?" >&2
"$2" info "$1/disk/top" >/dev/null; echo "info: $?" >&2
'''


@case('a file system that is mounted read-only')
def mounted(d):
    need('unshare')
    namespace = ['unshare', '-m'] if os.geteuid() == 0 else ['unshare', '-Urm']
    os.mkdir(f'{d}/disk')
    raw_image(f'{d}/disk/base', MIB)
    overlay(f'{d}/disk/top', 'base')
    result = harness.run(*namespace, 'sh', '-c', MOUNTED, 'sh', d, harness.blockpull)
    if result.rc == 77:
        raise Skip('may not mount, even in a namespace of our own')
    for verb in 'pull -n', 'pull', 'measure', 'check --repair=all', 'create':
        check(f'{verb}: {FAILED}\n' in result.err, str(result))
    check('info: 0' in result.err, str(result))
    same(result.err.count(f"'{d}/disk/top' is on a read-only file system"), 4, f'sentences in {result}')
    check(f"'{d}/disk/new'" in result.err and 'ead-only file system' in result.err, str(result))


@case('an image that this user may not write, as a dry run tells it', 'top')
@case('an image whose data file may not be written, as a dry run tells it', 'data')
def may_not_write(d, name):
    command = unprivileged(d)
    raw_image(f'{d}/base', MIB)
    qemu_img('create', '-q', '-f', 'qcow2', '-o', f'data_file={d}/data', '-b', 'base', '-F', 'raw', f'{d}/top')
    for file in 'top', 'data':
        os.chmod(f'{d}/{file}', 0o444 if file == name else 0o666)
    before = images.digest(f'{d}/top')
    for option in '-n', '-q':
        result = harness.run(*command, 'pull', option, f'{d}/top')
        same(result.rc, FAILED, f'pull {option}: {result}')
        check('no permission' in result.err and f"'{d}/{name}'" in result.err, str(result))
    same(images.digest(f'{d}/top'), before, 'the image')
    same(harness.run(*command, 'measure', f'{d}/top').rc, 0, 'measure')
    os.chmod(f'{d}/{name}', 0o666)
    bp('pull', '-n', f'{d}/top')
    bp('pull', f'{d}/top')
    os.chmod(f'{d}/{name}', 0o444)
    for option in '-n', '-q':
        same(harness.run(*command, 'pull', option, f'{d}/top').rc, FAILED, f'pull {option} of one that is finished')


@case('an image that is marked immutable', 'i')
@case('an image to which may be appended only', 'a')
def immutable(d, mark):
    need('chattr')
    raw_image(f'{d}/base', MIB)
    top = overlay(f'{d}/top', 'base')
    if harness.run('chattr', f'+{mark}', top).rc:
        raise Skip('no such mark can be set here')
    try:
        for option in '-n', '-q':
            refused(FAILED, [top, 'lsattr'], 'pull', option, top)
    finally:
        harness.run('chattr', f'-{mark}', top)


if __name__ == '__main__':
    harness.main()
