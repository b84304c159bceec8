# SPDX-License-Identifier: MIT OR Apache-2.0
"""Which backing files blockpull follows: those of a recorded format, in the image's own tree.

An image names its backing file, and the author of the image wrote that name: an overlay that names
/etc/shadow must not pull it in, at no level of its chain and by no symlink. Each refusal has exit
code 6, names the option that would allow it, and leaves every byte as it was; with that option the
same pull must succeed, so that the refusal is known to be for this reason.
"""
import os
import struct

import harness
import images
from harness import CORRUPT, FAILED, MIB, REFUSED, bp, case, check
from images import Untouched, image_info, overlay, pair, patch, pulled, qemu_img, raw_image, refused_unchanged


@case('a missing backing file is named, and nothing is written')
def missing_backing(d):
    top, base = pair(d)
    os.unlink(base)
    refused_unchanged(FAILED, ['base.img', ('no such', 'not exist', 'not found')], top, base)


@case('without a recorded format nothing is opened')
def no_format(d):
    top, base = pair(d)
    header = open(top, 'rb').read(4096)
    at = header.index(struct.pack('>II', 0xE2792ACA, 3))
    patch(top, at, struct.pack('>I', 0x12345678))  # an unknown extension says nothing
    check('backing-filename-format' not in image_info(top), 'the format is still recorded')
    refused_unchanged(REFUSED, ['top.img', '--backing-format'], top, base)
    pulled(top, 'qcow2', '--backing-format', 'raw')


@case('no recorded backing format: a guest can write a header into its raw disk')
def forged_header(d):
    top, base = pair(d)
    secret = f'{d}/secret'
    raw_image(secret, MIB)
    os.unlink(base)
    overlay(base, 'secret')  # what a guest might write into its disk
    before = Untouched(top, base, secret)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', top)  # recorded as raw: the header is data
    images.judge_pulled(top, 'qcow2', flat)
    check(before.look(secret) == before.files[secret], 'the forged backing file was written')


@case('QED over a format that QED cannot record')
def qed_unrecorded(d):
    top, _ = pair(d, 'qed', base_fmt='qcow2')
    pulled(top, 'qed')
    overlay(f'{d}/two.img', 'base.img', 'qed', None, 'qcow2')
    pulled(f'{d}/two.img', 'qed', '--backing-format=qcow2')


def outside(d):
    """A base in another tree than the image, and the names by which an image may reach for it."""
    os.makedirs(f'{d}/mine')
    os.makedirs(f'{d}/theirs')
    base = raw_image(f'{d}/theirs/base.img', MIB)
    os.symlink('../theirs/base.img', f'{d}/mine/link.img')
    os.symlink('../theirs', f'{d}/mine/links')
    return base, [base, '../theirs/base.img', 'link.img', 'links/base.img']


@case('a backing file outside the tree')
def outside_tree(d):
    base, names = outside(d)
    allow = {'BLOCKPULL_ALLOW_BACKING': f'{d}/theirs'}
    for name in names:
        for args, env in ([f'--allow-backing={d}/theirs'], {}), (['--allow-backing=any'], {}), ([], allow):
            top = overlay(f'{d}/mine/top.img', name)
            refused_unchanged(REFUSED, [('base.img', name), '--allow-backing'], top, base)
            refused_unchanged(REFUSED, ['--allow-backing'], top, base, f'--allow-backing={d}/mine')
            pulled(top, 'qcow2', *args, env=harness.environment(**env))
            os.unlink(top)


@case('a backing file outside the tree, deeper in the chain')
def outside_deeper(d):
    base, names = outside(d)
    for name in names:
        overlay(f'{d}/mine/middle.img', name)
        top = overlay(f'{d}/mine/top.img', 'middle.img', base_fmt='qcow2')
        refused_unchanged(REFUSED, ['--allow-backing'], top, f'{d}/mine/middle.img')
        os.unlink(top)
        os.unlink(f'{d}/mine/middle.img')
    check(os.path.getsize(base) == MIB, 'the base changed')


@case('a directory whose name begins alike is outside the tree')
def prefix(d):
    os.makedirs(f'{d}/a')
    os.makedirs(f'{d}/ab')
    base = raw_image(f'{d}/ab/base.img', MIB)
    top = overlay(f'{d}/a/top.img', base)
    refused_unchanged(REFUSED, ['--allow-backing'], top, base)
    refused_unchanged(REFUSED, ['--allow-backing'], top, base, f'--allow-backing={d}/a')


@case('--allow-backing=none allows no file')
def none_allowed(d):
    top, base = pair(d)
    refused_unchanged(REFUSED, ['base.img', 'allow-backing'], top, base, '--allow-backing=none')


@case('names with a protocol, and json:')
def protocols(d):
    top, base = pair(d)
    for name in ('nbd://localhost/x', 'http://localhost/x', 'ssh:host/x', 'fat:/etc',
                 'json:{"driver":"raw","file":{"driver":"https","url":"https://host/base.img"}}', 'json:{}'):
        qemu_img('rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', name, top)
        # Built with libnbd, and without.
        refused_unchanged(REFUSED, ['top.img', ('protocol', 'json', 'plain file', '--allow-remote', '--map-backing')], top, base,
                          '--allow-backing=any')
    os.rename(base, f'{d}/a:b')  # "./" makes a file name of it
    qemu_img('rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', './a:b', top)
    pulled(top, 'qcow2')


@case('a recorded backing format that we do not read')
def foreign_format(d):
    top, base = pair(d)
    for name in 'vmdk', 'vdi', 'nonsense':
        qemu_img('rebase', '-u', '-f', 'qcow2', '-F', name, '-b', 'base.img', top, rc=(0, 1))
        if image_info(top).get('backing-filename-format') == name:
            refused_unchanged(REFUSED, [name], top, base)


@case('a backing file that is not what it was recorded to be')
def wrong_format(d):
    top, base = pair(d)
    for name in 'qcow2', 'qed':
        qemu_img('rebase', '-u', '-f', 'qcow2', '-F', name, '-b', 'base.img', top)
        refused_unchanged((FAILED, CORRUPT, REFUSED), ['base.img'], top, base)


@case('a chain that is a loop is refused')
def loops(d):
    top, base = pair(d, base_fmt='qcow2')
    qemu_img('rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'top.img', top)
    refused_unchanged((FAILED, CORRUPT, REFUSED), ['top.img', ('loop', 'itself', 'twice', 'cycle')], top, base)
    os.unlink(top)
    top = overlay(top, 'base.img', base_fmt='qcow2')
    qemu_img('rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'top.img', base)
    refused_unchanged((FAILED, CORRUPT, REFUSED), ['top.img', ('loop', 'itself', 'twice', 'cycle')], top, base)
    os.link(top, f'{d}/other name')
    qemu_img('rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'other name', base)
    refused_unchanged((FAILED, CORRUPT, REFUSED), [('loop', 'itself', 'twice', 'cycle')], top, base)
    for command in 'info --chain', 'map':
        bp(*command.split(), top, rc=(FAILED, CORRUPT, REFUSED), timeout=10)


@case('a backing file cut short has lost data: no zeros in its place')
def cut_short(d):
    raw_image(f'{d}/raw.img', 8 * MIB)
    qemu_img('convert', '-O', 'qcow2', f'{d}/raw.img', f'{d}/base.img')
    top = overlay(f'{d}/top.img', 'base.img', 'qcow2', None, 'qcow2')
    os.truncate(f'{d}/base.img', 4 * MIB)
    bp('pull', top, rc=CORRUPT)
    check('backing-filename' in image_info(top), 'the link was dropped')


@case('a name of 1023 bytes', 'qcow2')
@case('a name of 1023 bytes, QED', 'qed')
def longest(d, fmt):
    images.raw_image(f'{d}/b ä.img', 1 << 20)
    length = 1023 - len('b ä.img'.encode())
    name = ('./' * length)[:length - 2] + '//' + 'b ä.img'
    check(len(name.encode()) == 1023, f'the name has {len(name.encode())} bytes')
    top = images.overlay(f'{d}/top.img', name, fmt)
    images.pulled(top, fmt)


if __name__ == '__main__':
    harness.main()
