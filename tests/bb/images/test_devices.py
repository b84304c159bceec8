# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images on block devices, and images that name some: what shares /dev is other people's disks.

Nothing is allowed there but what was named: the device, or a directory of links that only root (or we)
can have made. Loop devices stand for a volume group's; they need root, and are detached however a
case ends.
"""
import contextlib
import os
import re

import harness
import images
from harness import DONE, KIB, MIB, REFUSED, Skip, bp, case, check, need, same
from images import Untouched, overlay, qemu_img, raw_image

READERS = ['pull', '-n'], ['hash'], ['map'], ['measure'], ['info', '--chain']


@contextlib.contextmanager
def devices(d, *sizes):
    """Loop devices over files d/store0, ...; each has a link d/vg/N beside it, as a volume group's have."""
    need('losetup')
    found = []
    os.mkdir(f'{d}/vg', 0o755)
    os.chmod(f'{d}/vg', 0o755)
    try:
        for i, size in enumerate(sizes):
            raw_image(f'{d}/store{i}', size)
            attached = harness.run('losetup', '--find', '--show', f'{d}/store{i}')
            if attached.rc:
                raise Skip('may not attach a loop device')
            found.append(attached.out.strip())
            os.symlink(found[-1], f'{d}/vg/{i}')
        yield found
    finally:
        for device in found:
            harness.run('losetup', '--detach', device)


def flush(*paths):
    for path in paths:
        harness.run('blockdev', '--flushbufs', path)


def refused_everywhere(d, image, words, *args):
    """By every command that follows a chain, each with the option that would allow it."""
    for command in READERS + (['pull', '-q'],):
        result = harness.refused(REFUSED, words + ['--allow-backing='], *command, *args, image)
        check('block device' in result.err, str(result))
    harness.refused(REFUSED, words, 'flatten', '-f', 'raw', *args, image, f'{d}/out')
    harness.refused(REFUSED, words, 'verify', *args, image, image)
    check(not os.path.exists(f'{d}/out'), 'flatten made a file')


def hinted(result):
    found = re.search(r'--allow-backing=(/\S+) or', result.err)
    check(found, f'no option is named: {result}')
    return found[1]


@case('another device is not part of an image on a device, however the image is named')
def neighbour(d):
    with devices(d, 16 * MIB, 4 * MIB) as (top, base):
        for recorded in base, f'{d}/vg/1':
            overlay(top, recorded, size=4 * MIB)
            flush(top)
            before = Untouched(f'{d}/store1', f'{d}/store0')
            for name in top, f'{d}/vg/0':
                refused_everywhere(d, name, [recorded])
                refused_everywhere(d, name, [recorded], f'--allow-backing={d}/store0')
                bp('pull', '-q', '--allow-backing=none', name, rc=REFUSED)
            before.verify()


@case('a relative name beside a link to the image is no other device either')
def beside_link(d):
    with devices(d, 16 * MIB, 4 * MIB) as (top, _):
        overlay(top, f'{d}/vg/1', size=4 * MIB)
        qemu_img('rebase', '-u', '-f', 'qcow2', '-b', '1', '-F', 'raw', top)
        refused_everywhere(d, f'{d}/vg/0', ['vg/1'])


@case('one option allows the device, its link, their directory', 'base')
@case('the environment allows what the option does', 'env')
def allowed(d, how):
    with devices(d, 16 * MIB, 4 * MIB) as (top, base):
        for recorded in base, f'{d}/vg/1':
            for name in base, f'{d}/vg/1', f'{d}/vg', '/dev':
                # A directory of links says nothing of names that are not in it.
                right = DONE if name != f'{d}/vg' or recorded != base else REFUSED
                overlay(top, recorded, size=4 * MIB)
                before = Untouched(f'{d}/store1')
                if how == 'env':
                    bp('pull', top, rc=right, env=harness.environment(BLOCKPULL_ALLOW_BACKING=name))
                else:
                    bp('pull', f'--allow-backing={name}', top, rc=right)
                if right == DONE:
                    images.judge_pulled(top, 'qcow2', f'{d}/store1')
                before.verify()


@case('a chain of volumes: each refusal names the option, and their directory is one for all')
def chain(d):
    with devices(d, 16 * MIB, 8 * MIB, 4 * MIB) as (top, middle, base):
        def build():
            overlay(middle, f'{d}/vg/2', size=4 * MIB)
            overlay(top, f'{d}/vg/1', base_fmt='qcow2', size=4 * MIB)

        build()
        options = []
        for _ in range(2):
            result = bp('pull', *options, f'{d}/vg/0', rc=REFUSED)
            options.append(f'--allow-backing={hinted(result)}')
        same(options, [f'--allow-backing={d}/vg/{i}' for i in (1, 2)], 'options named')
        bp('pull', *options, f'{d}/vg/0')
        images.judge_pulled(top, 'qcow2', f'{d}/store2')
        build()
        bp('pull', f'--allow-backing={d}/vg', f'{d}/vg/0')
        images.judge_pulled(top, 'qcow2', f'{d}/store2')


@case('a link to a link, and a link from elsewhere into the directory')
def links_of_links(d):
    with devices(d, 16 * MIB, 4 * MIB) as (top, _):
        for where in 'mapper', 'elsewhere':
            os.mkdir(f'{d}/{where}', 0o755)
        os.symlink('../vg/1', f'{d}/mapper/base')
        os.symlink('../mapper/base', f'{d}/elsewhere/base')
        os.symlink('mapper', f'{d}/dir')
        for name in 'mapper', 'vg', 'dir', 'mapper/base', 'elsewhere/base', 'elsewhere':
            for recorded in 'elsewhere/base', 'dir/base', 'elsewhere/../dir/base':
                right = REFUSED if name == 'elsewhere' and recorded != 'elsewhere/base' else DONE
                overlay(top, f'{d}/{recorded}', size=4 * MIB)
                bp('pull', f'--allow-backing={d}/{name}', top, rc=right)


@case('links that another user can have made allow nothing')
def strangers_links(d):
    with devices(d, 16 * MIB, 4 * MIB) as (top, base):
        overlay(top, f'{d}/vg/1', size=4 * MIB)
        for spoil, mend in (
                (lambda: os.chmod(f'{d}/vg', 0o1777), lambda: os.chmod(f'{d}/vg', 0o755)),
                (lambda: os.chmod(f'{d}/vg', 0o775), lambda: os.chmod(f'{d}/vg', 0o755)),
                (lambda: os.chown(f'{d}/vg', 65534, 65534), lambda: os.chown(f'{d}/vg', 0, 0)),
                (lambda: os.lchown(f'{d}/vg/1', 65534, 65534), lambda: os.lchown(f'{d}/vg/1', 0, 0))):
            spoil()
            result = harness.refused(REFUSED, ['vg/1'], 'pull', f'--allow-backing={d}/vg', top)
            same(hinted(result), base, 'what is named, where the link may change')
            mend()
        bp('pull', f'--allow-backing={d}/vg', top)


@case('an image in a file names a device: by a node, or a link, beside it')
def file_and_node(d):
    with devices(d, 4 * MIB) as (base,):
        os.mkdir(f'{d}/vm', 0o755)
        status = os.stat(base)
        os.mknod(f'{d}/vm/node', status.st_mode, status.st_rdev)
        os.symlink(base, f'{d}/vm/link')
        for name in 'node', 'link':
            top = overlay(f'{d}/vm/top.img', f'{d}/vm/{name}', size=4 * MIB)
            qemu_img('rebase', '-u', '-f', 'qcow2', '-b', name, '-F', 'raw', top)
            before = Untouched(top, f'{d}/store0')
            refused_everywhere(d, top, [name])
            before.verify()
            for allow in f'{d}/vm', f'{d}/vm/{name}':
                qemu_img('create', '-q', '-f', 'qcow2', '-b', name, '-F', 'raw', top, '4M')
                bp('pull', f'--allow-backing={allow}', top)
                images.judge_pulled(top, 'qcow2', f'{d}/store0')


@case('plain files below an image on a device have to be named, too')
def file_below_device(d):
    with devices(d, 16 * MIB) as (top,):
        base = raw_image(f'{d}/vg/base.img', 4 * MIB)
        overlay(top, base)
        for name in top, f'{d}/vg/0':
            result = harness.refused(REFUSED, ['base.img'], 'pull', name)
            same(hinted(result), f'{d}/vg', 'what is named')
            harness.refused(REFUSED, ['base.img'], 'pull', f'--allow-backing={d}/store0', name)
        for allow in f'{d}/vg', base:
            overlay(top, base)
            bp('pull', f'--allow-backing={allow}', top)
            images.judge_pulled(top, 'qcow2', base)


def name_data_file(path, name):
    """Changes the name of its data file in an image that has one."""
    with open(path, 'r+b') as image:
        header = bytearray(image.read(64 * KIB))
        at = header.index(b'DATA')
        length = int.from_bytes(header[at + 4:at + 8], 'big')
        check(len(name) <= length, 'no room for the name')
        header[at + 8:at + 8 + length] = name.encode().rjust(length, b'/')
        image.seek(0)
        image.write(header)


@case('a device that an image names as its data file is not written to, unless it was named')
def data_device(d):
    with devices(d, 16 * MIB, 4 * MIB) as (top, data):
        base = raw_image(f'{d}/base.img', 4 * MIB)
        qemu_img('create', '-q', '-f', 'qcow2', '-o', f'data_file={d}/dummy{"x" * 40}', '-b', base, '-F', 'raw',
                 f'{d}/image', '4M')
        name_data_file(f'{d}/image', data)
        with open(f'{d}/image', 'rb') as image, open(top, 'r+b') as device:
            device.write(image.read())
        flush(top)
        for image in top, f'{d}/image':
            before = Untouched(f'{d}/store1', base)
            result = harness.refused(REFUSED, [data, 'data file', 'block device'], 'pull', f'--allow-backing={d}', image)
            same(hinted(result), data, 'what is named')
            bp('pull', f'--allow-backing={base}', image, rc=REFUSED)
            flush(data)
            before.verify()
        bp('pull', f'--allow-backing={base}', f'--allow-backing={data}', top)
        flush(data)
        same(images.digest(f'{d}/store1'), images.digest(base), 'bytes in the data file')


ROOT = r'''
set -e
mkdir "$1/r"
for dir in /*; do
    if [ -L "$dir" ]; then cp -P "$dir" "$1/r$dir"
    elif [ -d "$dir" ]; then mkdir "$1/r$dir"; mount --rbind "$dir" "$1/r$dir"; fi
done
mv "$1/top.img" "$1/base.img" "$1/r/"
rc=0; chroot "$1/r" "$2" pull /top.img || rc=$?
[ $rc = 6 ] || { echo "exit code $rc, wanted 6"; exit 1; }
chroot "$1/r" "$2" pull --allow-backing=/base.img /top.img
'''


@case('an image in the root directory has no directory of its own')
def in_root(d):
    need('unshare', 'chroot')
    if os.geteuid():
        raise Skip('needs root')
    base = raw_image(f'{d}/base.img', MIB)
    overlay(f'{d}/top.img', base)
    qemu_img('rebase', '-u', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', f'{d}/top.img')
    result = harness.run('unshare', '-m', 'sh', '-c', ROOT, 'sh', d, harness.blockpull)
    if result.rc and 'mount' in result.err:
        raise Skip('may not mount')
    check(result.rc == 0, str(result))
    check('--allow-backing=/base.img or' in result.err, f'the file itself is not named: {result}')
    images.judge_pulled(f'{d}/r/top.img', 'qcow2', f'{d}/r/base.img')


if __name__ == '__main__':
    harness.main()
