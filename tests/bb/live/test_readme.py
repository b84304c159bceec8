# SPDX-License-Identifier: MIT OR Apache-2.0
"""The lines of README.md, typed as they stand there: an image is pulled, freed of its base, copied, and served to a machine
that lives through the server's death. Smaller images and a bootable disk are all that is ours.
"""
import os
import re
import shlex
import signal
import subprocess

import harness
import images
import processes
from harness import MIB, case, check, need, same
from images import image_check, image_info, overlay, qemu_io, raw_image
from serve_rig import boot_disk, check_rows, end, wait_for_rows

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', 'README.md')


def typed(after):
    """The lines behind a prompt in the first block that follows these words."""
    with open(PAGE, encoding='utf-8') as file:
        block = re.search(r'^```\n(.*?)^```$', file.read().partition(after)[2], re.M | re.S)
    check(block, f'README.md has no block behind "{after}"')
    return re.findall(r'^\$ (.*)$', block[1].replace('\\\n', ''), re.M)


def sh(d, line):
    """A line of a shell, in which the command is found as after an installation."""
    env = harness.environment(PATH=f'{os.path.dirname(harness.blockpull)}:{os.environ["PATH"]}')
    result = harness.run('sh', '-c', line, cwd=d, env=env)
    same(result.rc, 0, f'{line}: {result}')
    return result.out


def small_image(d):
    raw_image(f'{d}/base.raw', 8 * MIB)
    top = overlay(f'{d}/vm.qcow2', 'base.raw')
    qemu_io(top, 'qcow2', 'write -P 7 3M 100k')
    return top, images.flatten(top, 'qcow2', f'{d}/flat')


@case('what it shows first: the image is pulled, and its base removed')
def shown(d):
    top, flat = small_image(d)
    lines = typed('# blockpull')
    before, *_, after = [sh(d, line) for line in lines]
    check('backing file: base.raw' in before and 'backing' not in after, f'before: {before}, after: {after}')
    check(not os.path.exists(f'{d}/base.raw'), 'its base is there still')
    images.judge_pulled(top, 'qcow2', flat)


@case('an image is freed of its base, the machine being off')
def freed(d):
    top, flat = small_image(d)
    for line in typed('**Free an image of its base**'):
        sh(d, line)
    images.judge_pulled(top, 'qcow2', flat)


@case('a copy that stands alone')
def copied(d):
    top, flat = small_image(d)
    with open(PAGE, encoding='utf-8') as file:
        line = re.search(r'\*\*A copy that stands alone\*\*.*?`(.*?)`', file.read(), re.S)[1]
    sh(d, line)
    same(image_info(top)['backing-filename'], 'base.raw', 'the chain is left as it is')
    images.compare_flat(f'{d}/copy.qcow2', 'qcow2', flat)


class Typed:
    """The three lines about a machine: server, machine, client."""

    def __init__(self, d):
        self.d = d
        self.server_line, self.machine_line, self.client_line = typed('**While the guest runs**')

    def server(self, *more):
        words = shlex.split(self.server_line)
        same((words[0], words[-1]), ('blockpull', '&'), 'the server\'s line')
        server = harness.start(harness.blockpull, *words[1:-1], *more, cwd=self.d)
        processes.wait_listening(server, 'vm.sock', 'vm.ctl')
        return server

    def machine(self):
        """What is added is what a test needs: no window, a console, a way to end."""
        words = shlex.split(self.machine_line, comments=True)
        need(words[0])
        return harness.start(*words, '-accel', 'tcg', '-display', 'none', '-vga', 'none', '-net', 'none', '-serial', 'file:serial', '-device',
                             'isa-debug-exit,iobase=0xf4', '-no-reboot', cwd=self.d, stderr=subprocess.DEVNULL)

    def client(self, verb=None):
        """The line as it stands, or with another verb that its remark names."""
        line, _, remark = self.client_line.partition('#')
        words = shlex.split(line)
        check(verb is None or verb in re.findall(r'\w+', remark), f'README.md does not name "{verb}": {remark}')
        sh(self.d, shlex.join(words[:3] + ([verb] if verb else words[3:])))


@case('a machine on it under QEMU: steered, killed, and started again by the same line')
def served(d):
    os.rename(boot_disk(d), f'{d}/vm.qcow2')
    qemu_io(f'{d}/base.qcow2', 'qcow2', 'write -P 9 2M 2M')
    lines = Typed(d)
    server, machine = lines.server('--bandwidth=8k'), lines.machine()  # 2 MiB in four minutes, so that a slow machine is in time
    wait_for_rows(d, 10)
    lines.client('info')
    lines.client('pause')
    lines.client('resume')
    lines.client('pause')
    lines.client()
    same(image_info(f'{d}/vm.qcow2', '-U')['backing-filename'], 'base.qcow2', 'the link while it is paused')
    lines.client('abort')
    end(server, signal.SIGKILL, 137)
    server = lines.server()
    lines.client('wait')
    result = harness.finish(machine, timeout=90)
    same(result.rc, 33, f'QEMU: {result}')
    end(server)
    check('backing-filename' not in image_info(f'{d}/vm.qcow2'), 'it has a backing file still')
    same(image_check(f'{d}/vm.qcow2', 'qcow2'), 0, 'qemu-img check')
    qemu_io(f'{d}/vm.qcow2', 'qcow2', 'read -P 9 2M 2M')
    check_rows(d, f'{d}/vm.qcow2')


if __name__ == '__main__':
    harness.main()
