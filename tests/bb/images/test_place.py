# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where the image lives: its directory, rights that are missing, block devices, a full disk.

The full disk is a real one, a small tmpfs in a mount namespace of its own, which vanishes with the
test however that ends; a limit on file sizes was tried in its place, but is another errno. Whatever
went wrong, the image stays as good as it was, keeps what was copied, and a second pull ends it.
"""
import os

import harness
import images
from harness import DONE, FAILED, MIB, REFUSED, Skip, bp, case, check, need, same
from images import Untouched, overlay, pair, pulled, raw_image
from reach import mounting, unprivileged


@case('an image that may not be written')
def read_only_image(d):
    top, base = pair(d)
    command = unprivileged(d)
    os.chmod(top, 0o444)
    before = Untouched(top, base)
    result = harness.run(*command, 'pull', top)
    check(result.rc == FAILED, str(result))
    check('top.img' in result.err and 'ermission' in result.err, str(result))
    for verb in 'info', 'map', 'check':
        result = harness.run(*command, verb, top)
        check(result.rc == DONE, f'{verb} needs no right to write: {result}')
    before.verify()


@case('backing files need only be readable')
def read_only_backing(d):
    os.mkdir(f'{d}/base')
    base = raw_image(f'{d}/base/base.img', MIB)
    top = overlay(f'{d}/top.img', 'base/base.img')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    command = unprivileged(d)
    if not os.geteuid():
        os.chown(top, 65534, 65534)
    os.chmod(base, 0o444)
    os.chmod(f'{d}/base', 0o555)
    result = harness.run(*command, 'pull', top)
    os.chmod(f'{d}/base', 0o755)
    check(result.rc == DONE, str(result))
    images.judge_pulled(top, 'qcow2', flat)


@case('nothing but the image changes in its directory')
def directory(d):
    top, _ = pair(d)
    os.chmod(top, 0o640)
    os.link(top, f'{d}/link')
    before = sorted(os.listdir(d)), os.stat(top).st_ino, os.stat(top).st_mode
    bp('pull', top)
    after = sorted(os.listdir(d)), os.stat(top).st_ino, os.stat(top).st_mode
    same(after, before, 'names, inode and mode')


@case('an image named by a symlink, and from its own directory')
def named_otherwise(d):
    for name, cwd in ('link.img', d), ('top.img', d), (f'{d}/link.img', '/'), ('./here/../top.img', d):
        os.mkdir(f'{d}/here')
        top, base = pair(d)
        os.symlink('top.img', f'{d}/link.img')
        flat = images.flatten(top, 'qcow2', f'{d}/flat')
        bp('pull', name, cwd=cwd)
        check(os.path.islink(f'{d}/link.img'), 'the symlink was replaced')
        images.judge_pulled(top, 'qcow2', flat)
        for path in top, base, f'{d}/link.img':
            os.unlink(path)
        os.rmdir(f'{d}/here')


@case('block devices: as the base, and as the image')
def block_devices(d):
    need('losetup')
    raw_image(f'{d}/base', 8 * MIB)
    raw_image(f'{d}/top', 16 * MIB, (0, 0))
    devices = {}
    try:
        for name in 'base', 'top':
            attached = harness.run('losetup', '--find', '--show', f'{d}/{name}')
            if attached.rc:
                raise Skip('may not attach a loop device')
            devices[name] = attached.out.strip()
        before = Untouched(f'{d}/base')
        overlay(f'{d}/top.img', devices['base'], size=8 * MIB)
        bp('pull', f'{d}/top.img', rc=REFUSED)
        bp('pull', '--allow-backing=/dev', f'{d}/top.img')
        images.judge_pulled(f'{d}/top.img', 'qcow2', f'{d}/base')
        overlay(devices['top'], devices['base'], size=8 * MIB)
        bp('pull', '--allow-backing=/dev', devices['top'])
        images.judge_pulled(devices['top'], 'qcow2', f'{d}/base')
        before.verify()
    finally:
        for device in devices.values():
            harness.run('losetup', '--detach', device)


FULL_DISK = r'''
set -e
mount -t tmpfs -o size=96m none "$1/small"
cd "$1/small"
head -c 72M /dev/zero >ballast
qemu-img create -q -f "$3" -b "$1/base.img" -F raw top.img
rc=0; "$2" pull --io="$4" --allow-backing=any top.img || rc=$?
[ $rc = 7 ] || { echo "exit code $rc, wanted 7"; exit 1; }
rc=0; qemu-img check -f "$3" -q top.img 2>/dev/null || rc=$?
[ $rc = 0 ] || { echo "qemu-img check $rc after the failure"; exit 1; }
qemu-img map --output=json top.img | grep -q '"depth": 0.*"data": true' || { echo 'nothing was kept'; exit 1; }
qemu-img compare -q -f "$3" -F raw top.img "$1/base.img" || { echo 'content changed'; exit 1; }
rm ballast
"$2" pull --io="$4" --allow-backing=any top.img
rc=0; qemu-img check -f "$3" -q top.img 2>/dev/null || rc=$?
[ $rc = 0 ] || { echo "qemu-img check $rc at last"; exit 1; }
mv "$1/base.img" "$1/away.img"
qemu-img compare -q -f "$3" -F raw top.img "$1/away.img" || { echo 'content changed at last'; exit 1; }
cd /
umount "$1/small"
'''


@case('a full disk, then room again', 'qcow2', 'auto')
@case('a full disk, then room again, threads', 'qcow2', 'threads')
@case('a full disk, then room again, QED', 'qed', 'auto')
@case('a full disk, then room again, QED and threads', 'qed', 'threads')
def full_disk(d, fmt, io):
    namespace = mounting(f'{d}/small')
    raw_image(f'{d}/base.img', 48 * MIB)
    before = Untouched(f'{d}/base.img')
    result = harness.run(*namespace, 'sh', '-c', FULL_DISK, 'sh', d, harness.blockpull, fmt, io)
    check(result.rc == 0, str(result))
    check('top.img' in result.err and 'space' in result.err.lower(), f'no word on the space: {result}')
    same(result.err.count('make room'), 1, 'how often the advice is given')
    os.rename(f'{d}/away.img', f'{d}/base.img')
    before.verify()


@case('a limit on file sizes ends the pull with a sentence, not a signal')
def file_size_limit(d):
    need('prlimit')
    raw_image(f'{d}/base.img', 8 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    result = harness.run('prlimit', f'--fsize={4 * MIB}', harness.blockpull, 'pull', top)
    check(result.rc in (FAILED, harness.NO_SPACE) and 'top.img' in result.err, str(result))
    harness.same(images.image_check(top, 'qcow2'), 0, 'exit code of qemu-img check after the failure')
    check(any(e['depth'] == 0 and e['data'] for e in images.image_map(top)), 'nothing was kept')
    images.compare_flat(top, 'qcow2', flat, 'by the failure')
    pulled(top, 'qcow2')


if __name__ == '__main__':
    harness.main()
