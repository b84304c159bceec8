# SPDX-License-Identifier: MIT OR Apache-2.0
"""A real guest: Debian's cloud kernel in QEMU, with a busybox in its memory and one NVMe disk.

NVMe, because that driver is built into the kernel: no module has to be loaded. The kernel and the
busybox lie unpacked in a directory that ./tools/dev test fills, `vm` of the build directory or
BLOCKPULL_VM_DIR; nothing of them is installed. A whole distribution's image was rejected: it is
hundreds of megabytes, and shows nothing more of a disk.
"""
import gzip
import os
import threading

import harness
from harness import Skip, check, need

LATE = 120  # seconds


def files():
    """The kernel and the busybox, or the case is skipped."""
    build = os.path.dirname(os.path.dirname(harness.blockpull))
    directory = os.environ.get('BLOCKPULL_VM_DIR') or os.path.join(build, 'vm')
    found = [os.path.join(directory, name) for name in ('vmlinuz', 'busybox')]
    for path in found:
        if not os.path.exists(path):
            raise Skip(f'no {path} (./tools/dev test fetches it)')
    need('qemu-system-x86_64')
    return found


def initramfs(path, busybox, script):
    """An archive (cpio, newc) of what the kernel starts: script as /init, and busybox."""
    with open(busybox, 'rb') as file:
        program = file.read()
    entries = [(name, 0o040755, b'') for name in ('bin', 'dev', 'proc', 'sys', 'mnt')]
    entries += [('bin/busybox', 0o100755, program), ('init', 0o100755, script.encode())]
    archive = bytearray()
    for number, (name, mode, data) in enumerate(entries + [('TRAILER!!!', 0, b'')], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b'070701' + b''.join(b'%08X' % f for f in fields) + name.encode() + b'\0'
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    with gzip.open(path, 'wb', compresslevel=1) as file:
        file.write(archive)


class Guest:
    """The machine, running. Its console is read line by line."""

    def __init__(self, d, socket, script):
        kernel, busybox = files()
        initramfs(f'{d}/initramfs', busybox, script)
        self.lines = []
        # TCG boots this kernel in seconds everywhere; that /dev/kvm opens does not mean that it can.
        self.process = harness.start(
            'qemu-system-x86_64', '-accel', os.environ.get('BLOCKPULL_VM_ACCEL', 'tcg'), '-m', '256', '-nodefaults',
            '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio', '-kernel', kernel,
            '-initrd', f'{d}/initramfs', '-append', 'console=ttyS0 quiet panic=-1',
            '-blockdev', f'driver=nbd,node-name=disk,server.type=unix,server.path={socket},discard=unmap',
            '-device', 'nvme,drive=disk,serial=1', stderr=None)
        # A guest that hangs is a failure, which until() finds.
        self.late = threading.Timer(LATE, harness.kill, [self.process])
        self.late.daemon = True
        self.late.start()

    def until(self, word):
        """The lines of the console up to one that is this word, without it."""
        said = []
        for line in self.process.stdout:
            line = line.decode(errors='replace').strip()
            self.lines.append(line)
            if line == word:
                return said
            said.append(line)
        tail = '\n'.join(self.lines[-30:])
        check(False, f'the guest ended before it said {word}:\n{tail}')
        return said

    def ended(self):
        result = harness.finish(self.process, timeout=150)
        self.late.cancel()
        check(result.rc == 0, f'QEMU: {result}')

    def killed(self):
        self.late.cancel()
        harness.kill(self.process)
        harness.finish(self.process)
