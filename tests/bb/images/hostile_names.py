# SPDX-License-Identifier: MIT OR Apache-2.0
"""Hostile images, part 3: names of backing and data files as weapons, chains, and files that are no images.

The image's directory is image/; beside it lies secret.img, which no image may reach.
"""
import os
import socket
import struct

from harness import KIB
from hostile_images import BIG, add, base_file
from hostile_qcow2 import BASE, DATA_FILE, FMT, Qcow2, COPIED, overlay, pattern

SECRET = pattern('secret', 64 * KIB)


def outside(d):
    """A file next to the image's directory."""
    path = os.path.join(os.path.dirname(d), 'secret.img')
    with open(path, 'wb') as file:
        file.write(SECRET)
    return path


def named(title, verdict, name, make=None, fmt=b'raw', args=()):
    """An overlay over a backing file called name (bytes, or a function of the directory)."""
    def build(d):
        base_file(d)
        outside(d)
        if make:
            make(d)
        q = overlay(BIG, backing=name(d) if callable(name) else name, fmt=fmt)
        q.save(f'{d}/top.img')
        q.args = args
        return q
    add('backing names', title, verdict, build)


def sock(path):
    """The name of a socket may be too long for bind()."""
    here = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(f'/proc/self/fd/{here}/{os.path.basename(path)}')
    finally:
        os.close(here)


def replace(content=None, **how):
    """Puts something else where base.img was."""
    def make(d):
        base = f'{d}/base.img'
        os.unlink(base)
        for kind, value in how.items():
            getattr(os, kind)(*(value if isinstance(value, tuple) else ()), base)
    return make


def backing_names():
    named('plain', 'pull', b'base.img')
    named('with ./ in front', 'pull', b'./././base.img')
    named('file:', 'pull', b'file:base.img')
    named('no bytes', 'complete', b'')
    named('1023 bytes', 'pull', b'./' * 507 + b'/base.img')
    for name in (b'/etc/passwd', b'/dev/zero', b'/dev/null', b'/dev/stdin', b'/proc/self/fd/0', b'/proc/self/mem', b'/proc/self/exe',
                 b'/proc/kcore', b'/dev/fd/0', b'/', b'.', b'..', b'./', b'gone.img', b'../secret.img', b'x/../../secret.img',
                 b'./../secret.img', b'../image/../secret.img', b'//etc/passwd', b'top.img', b'./top.img',
                 b'nbd://localhost/x', b'nbd:localhost:10809', b'nbd+unix:///?socket=/tmp/x', b'http://localhost/x', b'https:x',
                 b'ssh://root@localhost/x', b'file:/etc/passwd', b'fat:/etc', b'blkdebug::base.img',
                 b'json:{"file.filename":"/etc/passwd"}', b'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}',
                 b'json:{}', b'fd:0', b'host_device:/dev/zero', b'raw:base.img', b'driver:x', b':', b'a:b', b'base.img\0', b'\0base.img',
                 b'base.img\0/etc/passwd', b'\0', b'base.img\n', b'\x1b[2Jbase.img', b'\x9b31m', b'\xe2\x80\xaegmi.esab', b'%s%s%s%n',
                 b'$(touch x)', b'`id`', b'|id', b'~/base.img', b'base.img ', b'-', b'--help', b'\xff\xfe\xfd', b'a' * 256, b'a' * 1023,
                 b'a/' * 511, b'base.img/', b'base.img/.', b'base.img/x', b'c:\\x', b'/dev/fd/../../etc/passwd'):
        named(f'{name[:40]!r}', 'refuse', name)
    # A plain file in other words: followed where libnbd is built in, which reads such names, and refused where it is not.
    named('json: of the base', 'either', b'json:{"driver":"raw","file":{"driver":"file","filename":"base.img"}}')
    named('an absolute name inside', 'pull', lambda d: f'{d}/base.img'.encode())
    named('an absolute name outside', 'refuse', lambda d: outside(d).encode())
    named('allowed, but a device', 'refuse', b'/dev/zero', args=('--allow-backing=any',))
    named('allowed, but itself', 'refuse', b'top.img', args=('--allow-backing=any',), fmt=b'qcow2')
    named('allowed, a fifo', 'refuse', b'base.img', replace(mkfifo=()), args=('--allow-backing=any',))
    named('allowed, descriptor 0', 'refuse', b'/proc/self/fd/0', args=('--allow-backing=any',))
    named('allowed, memory', 'refuse', b'/proc/self/mem', args=('--allow-backing=any',))
    named('not allowed', 'refuse', b'base.img', args=('--allow-backing=none',))
    for fmt in b'raw', b'qcow2', b'qed':
        named(f'itself, {fmt.decode()}', 'refuse', b'top.img', fmt=fmt)
        named(f'itself by a hard link, {fmt.decode()}', 'refuse', b'link.img', fmt=fmt, make=later(os.link))
        named(f'itself by a symbolic link, {fmt.decode()}', 'refuse', b'link.img', fmt=fmt, make=lambda d: os.symlink('top.img', f'{d}/link.img'))
        named(f'a fifo, {fmt.decode()}', 'refuse', b'base.img', replace(mkfifo=()), fmt)
        named(f'a directory, {fmt.decode()}', 'refuse', b'base.img', replace(mkdir=()), fmt)
        named(f'a socket, {fmt.decode()}', 'refuse', b'base.img', lambda d: (os.unlink(f'{d}/base.img'), sock(f'{d}/base.img')), fmt)
    named('a symbolic link inside', 'pull', b'link.img', lambda d: os.symlink('base.img', f'{d}/link.img'))
    named('a symbolic link out of the tree', 'refuse', b'base.img', replace(symlink=('../secret.img',)))
    named('a symbolic link to /etc/passwd', 'refuse', b'base.img', replace(symlink=('/etc/passwd',)))
    named('a symbolic link to a device', 'refuse', b'base.img', replace(symlink=('/dev/zero',)))
    named('a symbolic link to a fifo', 'refuse', b'link.img', lambda d: (os.mkfifo(f'{d}/pipe'), os.symlink('pipe', f'{d}/link.img')))
    named('a symbolic link to itself', 'refuse', b'base.img', replace(symlink=('base.img',)))
    named('a symbolic link to descriptor 0', 'refuse', b'base.img', replace(symlink=('/proc/self/fd/0',)))
    named('a directory that is a link out of the tree', 'refuse', b'dir/secret.img', lambda d: os.symlink('..', f'{d}/dir'))
    named('a hundred symbolic links', 'refuse', b'l0', lambda d: [os.symlink(f'l{n + 1}', f'{d}/l{n}') for n in range(100)])
    named('empty', 'pull', b'base.img', lambda d: None)
    images_of_wrong_format()


def later(link):
    """A link to the image: made before it, since writing keeps the inode."""
    def make(d):
        open(f'{d}/top.img', 'wb').close()
        link(f'{d}/top.img', f'{d}/link.img')
    return make


def qcow2_base(d, **fields):
    q = Qcow2(BIG, size=256 * KIB, backing=None)
    q.data(2)
    q.set(**fields)
    q.save(f'{d}/base.img')
    return q


def images_of_wrong_format():
    named('raw, recorded as qcow2', 'refuse', b'base.img', fmt=b'qcow2')
    named('raw, recorded as qed', 'refuse', b'base.img', fmt=b'qed')
    named('qcow2, recorded as qed', 'refuse', b'base.img', qcow2_base, b'qed')
    named('empty, recorded as qcow2', 'refuse', b'base.img', lambda d: open(f'{d}/base.img', 'wb').close(), b'qcow2')
    for fields in ({'version': 9}, {'incompat': 1 << 40}, {'bits': 63}, {'l1_off': 1 << 40}, {'l1_size': 0xffffffff}, {'crypt': 1},
                   {'rt_off': 1}, {'size': 1 << 63}, {'backing_off': 8, 'backing_len': 8}, {'n_snapshots': 70000}):
        named(f'a base with {fields}', 'refuse' if 'rt_off' not in fields and 'n_snapshots' not in fields else 'stop?', b'base.img',
              lambda d, f=fields: qcow2_base(d, **f), b'qcow2')

    def over(title, verdict, bend, below=None, bits=BIG):
        def build(d):
            base = Qcow2(bits, size=256 * KIB, backing=None)
            base.data(1)
            base.data(2)
            bend(base)
            base.save(f'{d}/base.img')
            top = Qcow2(bits, fmt=b'qcow2', size=256 * KIB)
            top.flat_over = base
            top.save(f'{d}/top.img')
            return Stacked(top, base)
        add('damaged bases', title, verdict, build)
    over('sound', 'pull', lambda q: q)
    over('an L1 entry with reserved bits', 'refuse', lambda q: q.l1.update({0: q.l1[0] | 1 << 57}))
    over('cut before its data', 'refuse', lambda q: setattr(q, 'length', q.host[1]))
    over('cut inside its first data', 'refuse', lambda q: setattr(q, 'length', q.host[1] + 100))
    over('cut before its L2 table', 'refuse', lambda q: setattr(q, 'length', q.l2_off[0]))
    over('an L1 entry past the end', 'refuse', lambda q: q.l1.update({0: 1 << 40}))
    over('an L2 entry past the end', 'refuse', lambda q: q.entry(3, 1 << 40))
    over('an L2 entry not aligned', 'refuse', lambda q: q.entry(3, q.host[1] + 512))
    over('an L2 entry with reserved bits', 'refuse', lambda q: q.entry(3, q.host[1] | 1 << 57))
    over('an L2 entry onto the header', 'stop?', lambda q: q.entry(3, COPIED))
    over('an L2 entry onto its L1 table', 'stop?', lambda q: q.entry(3, COPIED | q.l1_off))
    over('an L1 entry onto the header', 'stop?', lambda q: q.l1.update({0: COPIED}))
    over('an L1 entry onto the L1 table', 'stop?', lambda q: q.l1.update({0: COPIED | q.l1_off}))
    over('refcounts of 0', 'pull', lambda q: q.counts.update({n: 0 for n in range(4, 9)}))
    over('marked corrupt', 'stop?', lambda q: q.set(incompat=2))
    over('marked dirty', 'pull', lambda q: q.set(incompat=1))


    def shared_tables(d, entries):
        """One L2 table for all L1 entries: a few bytes that would be walked for hours."""
        base = Qcow2(BIG, size=entries << 29, backing=None)
        base.data(5)
        for number in range(0, 8192, 2):
            base.l2[0].setdefault(number, (1, 0))
        base.l1.clear()
        base.bytes[base.l1_off] = struct.pack('>Q', base.l2_off[0]) * entries
        base.save(f'{d}/base.img')
        Qcow2(BIG, size=entries << 29, fmt=b'qcow2').save(f'{d}/top.img')

    for entries in 4096, 100000:
        add('shared tables', f'one L2 table for {entries} L1 entries', 'refuse', lambda d, n=entries: shared_tables(d, n))


class Stacked:
    """The content of an overlay that holds what its base does not."""

    def __init__(self, top, base):
        self.top, self.base = top, base

    def flat(self, path):
        self.base.flat(path, b'')
        with open(path, 'rb') as file:
            below = file.read()
        return self.top.flat(path, below)


def chains():
    cls = 'chains'

    def ring(count):
        def build(d):
            for n in range(count):
                q = Qcow2(9, backing=b'top.img' if n == count - 1 else b'n%d.img' % (n + 1), fmt=b'qcow2')
                q.save(f'{d}/top.img' if n == 0 else f'{d}/n{n}.img')
            return None
        return build

    def line(count):
        def build(d):
            base_file(d)
            for n in range(count):
                last = n == count - 1
                q = Qcow2(9, backing=b'base.img' if last else b'n%d.img' % (n + 1), fmt=b'raw' if last else b'qcow2')
                q.save(f'{d}/top.img' if n == 0 else f'{d}/n{n}.img')
            return q
        return build
    for count in 1, 2, 3, 40:
        add(cls, f'a loop of {count}', 'refuse', ring(count))
    for count in 10, 60:
        add(cls, f'{count} images', 'pull', line(count))
    for count in 300, 1000:
        add(cls, f'{count} images', 'refuse', line(count))
    for title, content in (('shorter than the image', BASE[:1000]), ('empty', b''), ('one byte', b'x'), ('longer', BASE + pattern(1, 64 * KIB))):
        def build(d, content=content):
            base_file(d, content)
            q = overlay(BIG)
            q.save(f'{d}/top.img')
            q.flat = lambda path, q=q: Qcow2.flat(q, path, content)
            return q
        add(cls, f'a base {title}', 'pull', build)

    def raw_header(d):
        """A guest wrote a qcow2 header that names a secret into its raw disk."""
        outside(d)
        inner = Qcow2(BIG, backing=b'../secret.img', size=64 * KIB)
        inner.save(f'{d}/base.img')
        with open(f'{d}/base.img', 'rb') as file:
            content = file.read()
        q = Qcow2(BIG, size=1 << 20)
        q.save(f'{d}/top.img')
        q.flat = lambda path, q=q: Qcow2.flat(q, path, content)
        return q
    add(cls, 'a raw base that begins like a qcow2 image', 'pull', raw_header)

    def unrecorded(d):
        raw_header(d)
        q = Qcow2(BIG, size=1 << 20, fmt=None)
        q.save(f'{d}/top.img')
        return q
    add(cls, 'a base that begins like a qcow2 image, no format recorded', 'refuse', unrecorded)


def deeper():
    """The name that the middle image records."""
    cls = 'backing names'
    for name in (b'/etc/passwd', b'../secret.img', b'json:{}', b'nbd:x:1', b'top.img', b'middle.img', b'/dev/zero', b'/proc/self/fd/0', b'gone',
                 b'\x1b[31m', b'base.img\0', b'pipe'):
        for fmt in b'raw', b'qcow2', None:
            def build(d, name=name, fmt=fmt):
                base_file(d)
                outside(d)
                os.mkfifo(f'{d}/pipe')
                overlay(BIG, backing=name, fmt=fmt).save(f'{d}/middle.img')
                overlay(BIG, backing=b'middle.img', fmt=b'qcow2').save(f'{d}/top.img')
            add(cls, f'one below: {name!r}, {fmt!r}', 'refuse', build)


def data_files():
    cls = 'data files'

    def data(title, verdict, name, make=None, autoclear=0, backing=b'base.img', bend=None, args=()):
        def build(d):
            base_file(d)
            outside(d)
            with open(f'{d}/disk.raw', 'wb') as file:
                file.truncate(1 << 20)
            q = Qcow2(BIG, size=1 << 20, backing=backing)
            q.set(incompat=4, autoclear=autoclear)
            q.table(0)
            q.entry(1, COPIED | 1 << 16)
            content = pattern('disk', 1 << 16)
            q.guest[1] = content
            with open(f'{d}/disk.raw', 'r+b') as file:
                file.seek(1 << 16)
                file.write(content)
            if name is not None:
                q.exts.append((DATA_FILE, name(d) if callable(name) else name))
            if bend:
                bend(q)
            q.save(f'{d}/top.img')
            if make:
                make(d)
            q.args = args
            q.data_file = f'{d}/disk.raw'
            return q
        add(cls, title, verdict, build)
    # Absolute, because QEMU looks for a relative one in the directory that it runs in.
    data('sound', 'pull', lambda d: f'{d}/disk.raw'.encode())
    data('marked raw', 'pull', lambda d: f'{d}/disk.raw'.encode(), autoclear=2)
    data('no name', 'refuse', None)
    for name in (b'', b'gone.raw', b'/etc/passwd', b'../secret.img', b'/dev/null', b'/dev/zero', b'top.img', b'./top.img', b'base.img', b'./base.img',
                 b'json:{"driver":"file","filename":"disk.raw"}', b'json:{"filename":"/etc/passwd"}', b'nbd:localhost:1',
                 b'disk.raw\0', b'disk.raw\0x', b'\x1b[31m', b'a\nb', b'.', b'..', b'/proc/self/fd/1', b'/proc/self/mem', b'a' * 1024, b'a' * 5000,
                 b'disk.raw/', b'%n%n', b'\xe2\x80\xae'):
        data(f'{name[:30]!r}', 'refuse', name)
    data('absolute, outside', 'refuse', lambda d: outside(d).encode())

    def swap(kind, *args):
        def make(d):
            os.unlink(f'{d}/disk.raw')
            getattr(os, kind)(*(a.format(d=d) for a in args), f'{d}/disk.raw')
        return make
    data('a fifo', 'refuse', b'disk.raw', swap('mkfifo'))
    data('a directory', 'refuse', b'disk.raw', swap('mkdir'))
    data('a symbolic link out of the tree', 'refuse', b'disk.raw', swap('symlink', '../secret.img'))
    data('a symbolic link to /dev/null', 'refuse', b'disk.raw', swap('symlink', '/dev/null'))
    data('a symbolic link to the image', 'refuse', b'disk.raw', swap('symlink', 'top.img'))
    data('a symbolic link to the base', 'refuse', b'disk.raw', swap('symlink', 'base.img'))
    data('a hard link of the image', 'refuse', b'disk.raw', swap('link', '{d}/top.img'))
    data('a hard link of the base', 'refuse', b'disk.raw', swap('link', '{d}/base.img'))
    data('policy: none', 'refuse', b'disk.raw', args=('--allow-backing=none',))
    data('allowed, but a device', 'refuse', b'/dev/null', args=('--allow-backing=any',))
    data('an entry elsewhere than the guest offset', 'refuse', b'disk.raw', bend=lambda q: q.entry(2, COPIED | 1 << 16))
    data('an entry past its end', 'either', b'disk.raw', make=lambda d: os.truncate(f'{d}/disk.raw', 1000))
    data('an entry not COPIED', 'either', b'disk.raw', bend=lambda q: q.entry(1, 1 << 16))
    data('a compressed entry', 'refuse', b'disk.raw', bend=lambda q: q.packed(3))
    data('with an internal snapshot', 'refuse', b'disk.raw', bend=lambda q: q.snapshots(q.snapshot()))
    data('named twice', 'refuse', b'disk.raw', bend=lambda q: q.exts.append((DATA_FILE, b'../secret.img')))
    data('of an image without a backing file', 'complete', b'disk.raw', backing=None)
    data('gone, of an image without a backing file', 'complete?', b'gone.raw', backing=None)

    def of_base(d, name):
        base_file(d)
        outside(d)
        base = Qcow2(BIG, size=256 * KIB, backing=None)
        base.set(incompat=4)
        base.entry(0, COPIED)
        base.exts.append((DATA_FILE, name))
        base.save(f'{d}/base.img')
        q = Qcow2(BIG, size=256 * KIB, fmt=b'qcow2')
        q.save(f'{d}/top.img')
        return q
    for name in b'../secret.img', b'/etc/passwd', b'top.img', b'base.img', b'/dev/zero':
        add(cls, f"a base's: {name!r}", 'refuse', lambda d, n=name: of_base(d, n))


def no_images():
    cls = 'no images'

    def thing(title, make, verdict='refuse'):
        def build(d):
            outside(d)
            make(d, f'{d}/top.img')
        add(cls, title, verdict, build)

    def content(data):
        def make(d, path):
            with open(path, 'wb') as file:
                file.write(data)
        return make
    for title, data in (('no bytes', b''), ('one byte', b'Q'), ('a text', b'hello\n' * 100), ('zeros', bytes(64 * KIB)), ('noise', pattern(9, 64 * KIB)),
                        ('the magic of qcow2', b'QFI\xfb'), ('the magic of QED', b'QED\0'), ('qcow version 1', b'QFI\xfb\0\0\0\1' + bytes(500)),
                        ('VMDK', b'KDMV' + bytes(600)), ('a LUKS header', b'LUKS\xba\xbe\0\1' + bytes(600)), ('ones', b'\xff' * 4096),
                        ('the magic of qcow2 and ones', b'QFI\xfb' + b'\xff' * 4096), ('the magic of QED and ones', b'QED\0' + b'\xff' * 4096),
                        ('qcow2 version 3 and zeros', b'QFI\xfb\0\0\0\3' + bytes(4096)), ('QED and zeros', b'QED\0' + bytes(4096))):
        thing(title, content(data))
    thing('a directory', lambda d, p: os.mkdir(p))
    thing('a fifo', lambda d, p: os.mkfifo(p))
    thing('a socket', lambda d, p: sock(p))
    thing('a symbolic link to /dev/zero', lambda d, p: os.symlink('/dev/zero', p))
    thing('a symbolic link to /dev/null', lambda d, p: os.symlink('/dev/null', p))
    thing('a symbolic link to itself', lambda d, p: os.symlink('top.img', p))
    thing('a symbolic link to nothing', lambda d, p: os.symlink('gone', p))
    thing('a symbolic link to descriptor 0', lambda d, p: os.symlink('/proc/self/fd/0', p))
    thing('a sparse TiB of zeros', lambda d, p: (content(b'')(d, p), os.truncate(p, 1 << 40)))

    def locked_away(mode):
        def build(d):
            base_file(d)
            q = overlay(BIG)
            q.save(f'{d}/top.img')
            os.chmod(f'{d}/top.img', mode)
            q.user = 65534
            return q
        return build
    add(cls, 'not ours to write', 'refuse', locked_away(0o444))
    add(cls, 'not ours to read', 'refuse', locked_away(0o200))


for section in backing_names, deeper, chains, data_files, no_images:
    section()
