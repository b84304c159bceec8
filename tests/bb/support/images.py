# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images as the black-box tests see them: made, looked into and judged by QEMU's tools.

The judgement of a pull is here, in judge_pulled(): consistent by qemu-img check, the same content
by qemu-img compare as a raw copy made before, and no backing file in qemu-img info. check alone
would miss the worst losses: an image of zeros is perfectly consistent. Untouched proves that files
were left alone, down to their modification times. Nothing here knows the formats but a few offsets
of header fields that tests patch.
"""
import hashlib
import json
import os
import random
import struct
import time

from harness import WAIT, KIB, MIB, Failed, bp, check, refused, run, same, start


def qemu_img(*args, rc=(0,), **options):
    result = run('qemu-img', *args, **options)
    check(result.rc in rc, f'qemu-img: {result}')
    return result


def qemu_io(path, fmt, *commands, flags=(), rc=(0,)):
    argv = ['qemu-io', '-f', fmt, *flags]
    for command in commands:
        argv += ['-c', command]
    result = run(*argv, path)
    # qemu-io reports a failed command in its text only.
    check(result.rc in rc and (result.rc or 'failed' not in result.out), f'qemu-io: {result}')
    return result


def image_info(path, *flags):
    return json.loads(qemu_img('info', '--output=json', *flags, path).out)


def image_map(path, *flags):
    return json.loads(qemu_img('map', '--output=json', *flags, path).out)


def image_check(path, fmt):
    """Exit code of qemu-img check: 0 clean, 2 corrupt, 3 leaks only."""
    return qemu_img('check', '-f', fmt, path, rc=(0, 2, 3)).rc


def check_leaks_at_worst(path, fmt, when=''):
    """What a kill may leave."""
    check(image_check(path, fmt) in (0, 3), f'qemu-img check finds {path} damaged {when}')


def flatten(path, fmt, flat):
    """What the guest sees, as a raw file: the reference that compare_flat() judges by."""
    qemu_img('convert', '-f', fmt, '-O', 'raw', path, flat)
    return flat


def compare_flat(path, fmt, flat, when=''):
    # Not compare -s: that takes a difference of allocation for one of content.
    result = qemu_img('compare', '-f', fmt, '-F', 'raw', path, flat, rc=range(256))
    check(result.rc == 0, f'content changed {when}: {result}')
    check('size mismatch' not in result.out, f'the virtual size changed {when}: {result}')
    if os.path.getsize(flat) % 512:  # compare counts sectors
        same(image_info(path)['virtual-size'], os.path.getsize(flat), f'virtual size {when}')


def raw_image(path, size, *data_at):
    """A sparse file with random bytes at each (offset, length); none given: all of it."""
    with open(path, 'wb') as file:
        for start, length in data_at or [(0, size)]:
            file.seek(start)
            for done in range(0, length, MIB):
                file.write(random.randbytes(min(MIB, length - done)))
        file.truncate(size)
    return path


def overlay(path, base, fmt='qcow2', options=None, base_fmt='raw', size=None):
    """An image over base, which is named as given; relative to the image, that is."""
    argv = ['create', '-q', '-f', fmt] + (['-o', options] if options else [])
    qemu_img(*argv, '-b', base, '-F', base_fmt, path, *([size] if size else []))
    return path


def patch(path, offset, data):
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(data)


def data_ranges(fd, size):
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, min(at, size)


def digest(path):
    """Size and hash of a file's bytes. Blocks of zeros don't count, so that sparse terabytes are cheap."""
    blake, block = hashlib.blake2b(digest_size=12), 64 * KIB
    zeros = bytes(block)
    with open(path, 'rb', buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        seen = -1
        for begin, end in data_ranges(file.fileno(), size):
            for at in range(max(begin // block, seen + 1) * block, end, block):
                data, seen = os.pread(file.fileno(), block, at), at // block
                if data.strip(b'\0') if len(data) < block else data != zeros:
                    blake.update(b'%d:' % at + data)
    return size, blake.hexdigest()


def settle(path):
    """Waits until a killed process has really let go of an image: the kernel ends its io_uring, and
    with it the open files and their locks, a moment after the process is gone."""
    deadline = time.monotonic() + WAIT
    while qemu_img('info', path, rc=(0, 1)).rc:
        check(time.monotonic() < deadline, f'{path} is still locked {WAIT} s after the kill')


def use(image):
    """A process that has the image open for writing. A look at it too early may have kept it out."""
    for _ in range(20):
        user = start('qemu-io', '-f', 'qcow2', '-c', 'sleep 60000', image)
        while user.poll() is None:
            time.sleep(0.05)
            if qemu_img('info', image, rc=(0, 1)).rc:
                return user
    raise Failed(f'qemu-io could not open {image} 20 times')


class Untouched:
    """Bytes and modification times of files as they are now; verify() demands the same again."""

    def __init__(self, *paths):
        self.files = {p: self.look(p) for p in paths}

    @staticmethod
    def look(path):
        return digest(path) + (os.stat(path).st_mtime_ns,)

    def verify(self, when=''):
        for path, before in self.files.items():
            same(self.look(path), before, f'{os.path.basename(path)} was written {when}')


def judge_pulled(path, fmt, flat):
    """The promise of a pull: consistent, same content, no backing file any more. Returns what qemu-img info says."""
    same(image_check(path, fmt), 0, 'exit code of qemu-img check after the pull')
    info = image_info(path)
    for name in info:
        check(not name.startswith(('backing-filename', 'full-backing')), f'link is still there: {info}')
    compare_flat(path, fmt, flat, 'by the pull')
    return info


# ---- What several tests begin or end with ------------------------------------------------------

def pair(directory, fmt='qcow2', options=None, base_fmt='raw'):
    """An overlay of 1 MiB with one write of its own, over a base; both names as paths."""
    base, top = os.path.join(directory, 'base.img'), os.path.join(directory, 'top.img')
    raw_image(base, MIB)
    if base_fmt != 'raw':
        raw_image(base + '.raw', MIB)
        qemu_img('convert', '-f', 'raw', '-O', base_fmt, base + '.raw', base)
    overlay(top, 'base.img', fmt, options, base_fmt)
    qemu_io(top, fmt, 'write -P 7 64k 4k')
    return top, base


def refused_unchanged(rc, words, top, base, *args):
    before = Untouched(*(p for p in (top, base) if os.path.exists(p)))
    result = refused(rc, words, 'pull', *args, top, timeout=20)
    before.verify('although the pull was refused')
    return result


def refused_alike(rc, words, top, *files, args=()):
    """What a pull refuses, its dry run and measure refuse with the same exit code; none changes a file."""
    before = Untouched(top, *files)
    for verb in ('pull', '-n'), ('measure',), ('pull',):
        refused(rc, words, *verb, *args, top, timeout=20)
        before.verify(f'although {verb} refused it')


def pulled(top, fmt, *args, **options):
    flat = flatten(top, fmt, top + '.flat')
    bp('pull', *args, top, **options)
    judge_pulled(top, fmt, flat)


def add_luks_extension(path):
    """In front of the other extensions, which move with the backing file's name; its header is a new
    cluster at the end."""
    with open(path, 'r+b') as file:
        header = bytearray(file.read(64 * KIB))
        end = (file.seek(0, os.SEEK_END) + 65535) // 65536 * 65536
        file.truncate(end + 65536)
        at, = struct.unpack_from('>I', header, 100)
        name_off, = struct.unpack_from('>Q', header, 8)
        header[at:at] = struct.pack('>IIQQ', 0x0537be77, 16, end, 65536)
        if name_off:
            struct.pack_into('>Q', header, 8, name_off + 24)
        file.seek(0)
        file.write(header[:64 * KIB])
