# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Linux guest on the nbdkit plugin while its disk's chain is pulled; and one in real mode, in process.

The Linux guest hashes its files, writes, deletes, trims, syncs, hashes again what it has in memory,
then what the disk says, and powers off. The first hashes must be those of the files that were put
there; the second those of the third, and those that e2fsprogs reads from the image afterwards, which by
then stands alone. (Without the second, a write that was lost would look the same from both sides.) minivmm's guest sums its disk;
here the same sums are computed from the flat file.
"""
import hashlib
import os
import random
import struct
import tempfile
import time

import facts
import harness
import images
import processes
import vm
from harness import DONE, FAILED, KIB, MIB, Skip, bp, case, check, note, same
from images import image_check, image_info, overlay, qemu_img, qemu_io

SIZE = 96 * MIB

SCRIPT = '''#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
fail() { echo "FAIL: $*"; poweroff -f; }
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1 2>/dev/null || fail no disk
mount -t ext4 /dev/nvme0n1 /mnt || fail mount
cd /mnt || fail cd
hashes() { find . -type f | sort | xargs sha256sum; }
echo HASHES; hashes; echo END
dd if=/dev/urandom of=new bs=64k count=70 2>/dev/null || fail write
cp d0/f8 d1/copy || fail copy
for i in 0 3 7; do
    dd if=/dev/urandom of=d2/f18 bs=5000 count=3 seek=$((i * 11)) conv=notrunc 2>/dev/null || fail overwrite
done
for i in $(seq 100); do echo $i | sha256sum > d3/small$i; done
rm d0/f4 d1/f13 || fail rm
dd if=/dev/zero of=zeros bs=64k count=20 2>/dev/null
sync
fstrim /mnt 2>&1
sync
echo HASHES; hashes; echo END
'''

POWER_OFF = '''cd /; umount /mnt || fail umount
echo 3 > /proc/sys/vm/drop_caches
mount -t ext4 /dev/nvme0n1 /mnt || fail mount again
cd /mnt
echo HASHES; hashes; echo END
cd /; umount /mnt; sync
poweroff -f
'''

SYNCED = '''echo 3 > /proc/sys/vm/drop_caches
echo HASHES; hashes; echo END
sleep 1000
'''


# ---- Linux --------------------------------------------------------------------------------------

def tool(name):
    for directory in (*os.environ.get('PATH', '').split(':'), '/usr/sbin', '/sbin'):
        if os.access(os.path.join(directory, name), os.X_OK):
            return os.path.join(directory, name)
    raise Skip(f'{name} is not installed')


def tree_hashes(root):
    """What `sha256sum` of all files would say."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, 'rb') as file:
                found['./' + os.path.relpath(path, root)] = hashlib.sha256(file.read()).hexdigest()
    return found


def same_files(got, wanted, what):
    differ = sorted(name for name in got.keys() | wanted.keys() if got.get(name) != wanted.get(name))
    check(not differ, f'{what}: {len(differ)} of {len(wanted)} differ: {differ[:10]}')


def hash_lines(lines):
    return {name: digest for digest, name in (line.split(None, 1) for line in lines)}


def make_files(root):
    for i in range(24):
        os.makedirs(f'{root}/d{i % 4}', exist_ok=True)
        with open(f'{root}/d{i % 4}/f{i}', 'wb') as file:
            if i % 5 == 2:
                file.seek(random.randrange(MIB))
            file.write(random.randbytes((100, 70 * KIB, MIB, 4 * MIB, 200 * KIB)[i % 5]))


def make_chain(d, fmt, options):
    """A file system, split: half of it in the base, the rest in an image above, all below the top."""
    make_files(f'{d}/files')
    base, mid = f'{d}/base.img', f'{d}/mid.img'
    with open(base, 'wb') as file:
        file.truncate(SIZE)
    check(harness.run(tool('mkfs.ext4'), '-q', '-F', '-d', f'{d}/files', base).rc == 0, 'mkfs.ext4')
    overlay(mid, 'base.img')
    moved = [at for at in range(0, SIZE, 256 * KIB) if random.random() < 0.5]
    with open(base, 'r+b') as file:
        commands = []
        for at in moved:
            file.seek(at)
            with open(f'{d}/part{at}', 'wb') as part:
                part.write(file.read(256 * KIB))
            commands.append(f'write -q -s {d}/part{at} {at} 256k')
        qemu_io(mid, 'qcow2', *commands)
        for at in moved:
            file.seek(at)
            file.write(b'\xa5' * 256 * KIB)  # what must never be seen
            os.unlink(f'{d}/part{at}')
    return overlay(f'{d}/top.img', 'mid.img', fmt, options, 'qcow2')


def serve(d, top, *parameters):
    process = harness.start('nbdkit', '-f', '-U', f'{d}/nbd', facts.nbdkit_plugin(), f'image={top}', 'pull=true', 'bandwidth=512k',
                            f'control={d}/ctl', *parameters)
    processes.wait_listening(process, f'{d}/nbd', f'{d}/ctl')
    return process


def judge_files(d, top, fmt, wanted, what, *convert, e2fsck='-fn', verdicts=(0,)):
    """What e2fsprogs finds in the image, without any other file."""
    qemu_img('convert', '-f', fmt, '-O', 'raw', *convert, top, f'{d}/flat')
    result = harness.run(tool('e2fsck'), e2fsck, f'{d}/flat')
    check(result.rc in verdicts, f'{what}: e2fsck: {result}')
    directory = tempfile.mkdtemp(dir=d)
    harness.run(tool('debugfs'), '-R', f'rdump / {directory}', f'{d}/flat')
    same_files(tree_hashes(directory), wanted, f'{what}, as e2fsprogs reads them from the image')


def judge_alone(d, top, fmt):
    os.unlink(f'{d}/base.img')
    os.unlink(f'{d}/mid.img')
    check('backing-filename' not in image_info(top), 'the image is still linked')
    same(image_check(top, fmt), 0, 'qemu-img check')


@case('a Linux guest, qcow2', 'qcow2', None, False)
@case('a Linux guest, qcow2 with subclusters, its reads copied', 'qcow2', 'extended_l2=on', False, 'copy-on-read=true')
@case('a Linux guest, qcow2 with a snapshot, which stays as it was', 'qcow2', 'compat=0.10', True)
@case('a Linux guest, QED, its reads copied', 'qed', None, False, 'backing-format=qcow2', 'copy-on-read=true')
def linux(d, fmt, options, snapshot, *parameters):
    vm.files()
    top = make_chain(d, fmt, options)
    if snapshot:
        qemu_img('snapshot', '-c', 's1', top)
    server = serve(d, top, *parameters)
    guest = vm.Guest(d, f'{d}/nbd', SCRIPT + POWER_OFF)
    guest.until('HASHES')
    same_files(hash_lines(guest.until('END')), tree_hashes(f'{d}/files'), 'the files, in the guest')
    job = bp('ctl', f'{d}/ctl', 'info', '--json').json()
    same(job['state'], 'running', f'the pull when the guest begins to write: {job}')
    bp('ctl', f'{d}/ctl', 'speed', '16M')
    guest.until('HASHES')
    wanted = hash_lines(guest.until('END'))
    guest.until('HASHES')
    same_files(hash_lines(guest.until('END')), wanted, 'the files, read back by the guest')
    guest.ended()
    check(len(wanted) == 24 - 2 + 103, f'{len(wanted)} files')
    bp('ctl', f'{d}/ctl', 'speed', '0', rc=(DONE, FAILED))  # it may be over by now
    bp('ctl', f'{d}/ctl', 'wait')
    harness.kill(server, 15)
    result = harness.finish(server)
    check(result.rc in (0, 128 + 15), str(result))
    note(f'{job["cur"]} of {job["end"]} bytes were pulled when the guest began to write')
    judge_alone(d, top, fmt)
    judge_files(d, top, fmt, wanted, 'the files')
    if snapshot:
        judge_files(d, top, fmt, tree_hashes(f'{d}/files'), 'the files of the snapshot', '-l', 'snapshot.name=s1')


@case('killed under a Linux guest: what it synced is there', 'qcow2', None)
@case('killed under a Linux guest, QED', 'qed', None, 'backing-format=qcow2')
def killed(d, fmt, options, *parameters):
    vm.files()
    top = make_chain(d, fmt, options)
    server = serve(d, top, *parameters)
    guest = vm.Guest(d, f'{d}/nbd', SCRIPT + SYNCED)
    guest.until('HASHES')
    guest.until('END')
    bp('ctl', f'{d}/ctl', 'speed', '4M')
    guest.until('HASHES')
    wanted = hash_lines(guest.until('END'))
    guest.until('HASHES')
    same_files(hash_lines(guest.until('END')), wanted, 'the files, read back by the guest')
    harness.kill(server)
    harness.finish(server)
    guest.killed()
    bp('pull', '--backing-format=qcow2', top)
    if fmt == 'qcow2':
        bp('check', '--repair=leaks', top)  # a pull that was over before the kill leaves them to the next program to open the image
    judge_alone(d, top, fmt)
    judge_files(d, top, fmt, wanted, 'the files', e2fsck='-fp', verdicts=(0, 1))  # it replays the journal


# ---- Real mode, in process ----------------------------------------------------------------------

CHUNK, STAMP_FIRST, STAMP_EVERY, STAMP_AT, STAMP_BYTES = 8192, 5, 16, 2048, 4096


def disk_sum(data):
    total = 0
    for (word,) in struct.iter_unpack('<I', data):
        total = (((total << 1) | (total >> 31)) + word) & 0xffffffff
    return f'{total:08x}'


def minivmm(*args):
    path = os.path.join(os.path.dirname(harness.blockpull), 'minivmm')
    if not os.path.exists(path):
        raise Skip('minivmm is not built for this processor')
    result = harness.run(path, *args, timeout=100)
    if result.rc == 6:
        raise Skip(result.err.strip())
    return result


@case('minivmm: the guest sums and stamps its disk while it is pulled', 'qcow2', None)
@case('minivmm, QED', 'qed', None)
def real_mode(d, fmt, options):
    size = 2 * MIB
    base = images.raw_image(f'{d}/base.img', size, (0, MIB), (MIB + 300 * KIB, 400 * KIB))
    top = overlay(f'{d}/top.img', 'base.img', fmt, options)
    result = minivmm(top, str(MIB))
    same(result.rc, 0, str(result))
    with open(base, 'rb') as file:
        data = bytearray(file.read())
    before = disk_sum(data)
    for chunk in range(STAMP_FIRST, size // CHUNK, STAMP_EVERY):
        at = chunk * CHUNK + STAMP_AT
        data[at:at + STAMP_BYTES] = struct.pack('<I', chunk) * (STAMP_BYTES // 4)
    sums = [line.split()[-1] for line in result.out.splitlines() if line.startswith('guest: sum')]
    same(sums, [before, disk_sum(data)], f'the sums that the guest saw: {result}')
    check('the image stands alone' in result.out, str(result))
    with open(f'{d}/flat', 'wb') as file:
        file.write(data)
    images.judge_pulled(top, fmt, f'{d}/flat')


@case('minivmm says what it cannot open')
def no_image(d):
    result = minivmm(f'{d}/none.qcow2')
    same(result.rc, 1, str(result))
    check('none.qcow2' in result.err, str(result))


if __name__ == '__main__':
    harness.main(workers=2)
