# SPDX-License-Identifier: MIT OR Apache-2.0
"""A real guest: Debian's cloud kernel in QEMU, with what it starts from in its memory.

With busybox its disk is NVMe, because that driver is built into the kernel: no module has to be
loaded. The kernel, its modules for virtio and the busybox lie unpacked in a directory that
./tools/dev test fills, `vm` of the build directory or BLOCKPULL_VM_DIR; nothing of them is
installed. A whole distribution's image was rejected: it is hundreds of megabytes, and shows
nothing more of a disk.
"""
import gzip
import os

import harness
from harness import Skip, check, need

LATE = 120  # seconds of the processor
MODULES = [f'{name}.ko' for name in ('virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'virtio_blk')]


def files(*names):
    """The kernel, and the busybox or these files beside it, or the case is skipped."""
    build = os.path.dirname(os.path.dirname(harness.blockpull))
    directory = os.environ.get('BLOCKPULL_VM_DIR') or os.path.join(build, 'vm')
    found = [os.path.join(directory, name) for name in ('vmlinuz', *(names or ['busybox']))]
    for path in found:
        if not os.path.exists(path):
            raise Skip(f'no {path} (./tools/dev test fetches it)')
    need('qemu-system-x86_64')
    return found


def initramfs(path, entries):
    """An archive (cpio, newc) of what the kernel starts from: (name, mode, bytes) each."""
    archive = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ('TRAILER!!!', 0, b'')], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b'070701' + b''.join(b'%08X' % f for f in fields) + name.encode() + b'\0'
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    with gzip.open(path, 'wb', compresslevel=1) as file:
        file.write(archive)


def content(path):
    with open(path, 'rb') as file:
        return file.read()


# On a busy machine an emulated timer is late, and the kernel takes that for a board without one.
WORDS = 'console=ttyS0 quiet panic=-1 no_timer_check'


class Machine:
    """A machine, running. Its console is read line by line."""

    def __init__(self, d, kernel, entries, words, *args, late=LATE, stderr=None):
        initramfs(f'{d}/initramfs', entries)
        self.lines = []
        # TCG boots this kernel in seconds everywhere; that /dev/kvm opens does not mean that it can.
        self.process = harness.start(
            'qemu-system-x86_64', '-accel', os.environ.get('BLOCKPULL_VM_ACCEL', 'tcg'), '-nodefaults',
            '-no-user-config', '-display', 'none', '-serial', 'stdio', '-kernel', kernel,
            '-initrd', f'{d}/initramfs', '-append', f'{WORDS} {words}', *args, stderr=stderr)
        # A guest that hangs is a failure, which until() finds. One that works is ended by the kernel, one that waits by
        # harness.clock(): sooner than Meson would, so that it is told.
        harness.limit(self.process.pid, late)
        self.allowed, self.waited = late, None
        self.wait = max(late, harness.patience(late))
        self.late = harness.Later(self.wait, self.hangs)

    def hangs(self):
        self.waited = self.wait
        harness.kill(self.process)

    def how_it_ended(self):
        ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        if self.waited:
            return f'killed after {self.waited} s'
        if ended.si_code == os.CLD_EXITED:
            return f'exit code {ended.si_status}'
        return f'signal {ended.si_status}; it may use {self.allowed} s of the processor'

    def lines_until(self, word):
        """The lines of the console, as they come, up to one that is this word."""
        for line in self.process.stdout:
            line = line.decode(errors='replace').strip()
            self.lines.append(line)
            if line == word:
                return
            yield line
        tail = '\n'.join(self.lines[-30:])
        check(False, f'the guest ended ({self.how_it_ended()}) before it said {word}:\n{tail}')

    def until(self, word):
        return list(self.lines_until(word))

    def ended(self):
        result = harness.finish(self.process, timeout=150)
        self.late.cancel()
        check(result.rc == 0, f'QEMU: {result}')

    def killed(self):
        self.late.cancel()
        harness.kill(self.process)
        harness.finish(self.process)


class Guest(Machine):
    """A script as /init, with busybox, and the disk that an NBD server has at the socket."""

    def __init__(self, d, socket, script):
        kernel, busybox = files()
        entries = [(name, 0o040755, b'') for name in ('bin', 'dev', 'proc', 'sys', 'mnt')]
        entries += [('bin/busybox', 0o100755, content(busybox)), ('init', 0o100755, script.encode())]
        super().__init__(d, kernel, entries, '', '-m', '256', '-no-reboot', '-blockdev',
                         f'driver=nbd,node-name=disk,server.type=unix,server.path={socket},discard=unmap',
                         '-device', 'nvme,drive=disk,serial=1')
