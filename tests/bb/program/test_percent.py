# SPDX-License-Identifier: MIT OR Apache-2.0
"""--progress=qemu: what programs that drive qemu-img -p look for on its standard output, byte by byte."""
import re
import signal

import harness
from harness import DONE, FAILED, MIB, USAGE, bp, case, check, refused, same
from images import overlay, raw_image

ONE = r'    \((\d{1,3}\.\d\d)/100%\)\r'


def chain(d, name='top.img', size=4 * MIB):
    raw_image(f'{d}/{name}.base', size)
    return overlay(f'{d}/{name}', f'{name}.base')


def percents(text):
    """Of standard output that is nothing else."""
    check(re.fullmatch(f'(?:{ONE})+\n', text), f'not as qemu-img prints it: {text!r}')
    return [float(found) for found in re.findall(ONE, text)]


@case('percents of qemu-img itself go from 0 to 100')
def reference(d):
    shown = harness.run('qemu-img', 'convert', '-p', '-O', 'raw', chain(d), f'{d}/out')
    same([percents(shown.out)[0], percents(shown.out)[-1]], [0, 100], 'first and last')


@case('from 0 to 100, and never back', 'top.img')
@case('from 0 to 100, and never back, several images', 'one', 'two', 'three')
@case('from 0 to 100, and never back, at once', '-j2', 'one', 'two', 'three')
@case('from 0 to 100, and never back, quiet', '-q', 'one')
def whole(d, *args):
    argv = [a if a.startswith('-') else chain(d, a) for a in args]
    shown = percents(bp('pull', '--progress=qemu', '--bandwidth=6M', *argv).out)
    same([shown[0], shown[-1]], [0, 100], 'first and last')
    same(shown, sorted(set(shown)), 'in order, none twice')
    check(len(shown) > 3, f'only {shown}')


@case('percents of flatten go from 0 to 100')
def flatten(d):
    shown = percents(bp('flatten', '--progress=qemu', '--bandwidth=4M', chain(d), f'{d}/out').out)
    same([shown[0], shown[-1]], [0, 100], 'first and last')


@case('a failure does not reach 100')
def failed(d):
    same(percents(bp('pull', '--progress=qemu', f'{d}/gone', rc=FAILED).out), [0], 'percents')


@case('a stop does not reach 100')
def stopped(d):
    process = harness.start(harness.blockpull, 'pull', '--progress=qemu', '--bandwidth=1M', chain(d))
    process.stdout.read(len('    (0.00/100%)\r    (0.'))
    harness.kill(process, signal.SIGINT)
    result = harness.finish(process)
    same(result.rc, 130, 'exit code')
    check(result.out.endswith('\r\n') and '(100.00' not in result.out, repr(result.out))


@case('percents and JSON do not go together')
def json(d):
    refused(USAGE, ['--json', '--progress=qemu'], 'pull', '--json', '--progress=qemu', chain(d))


@case('an image without a backing file')
def nothing(d):
    overlay(chain(d), 'top.img.base')
    bp('pull', f'{d}/top.img')
    shown = percents(bp('pull', '--progress=qemu', f'{d}/top.img', rc=DONE).out)
    same([shown[0], shown[-1]], [0, 100], 'first and last')


if __name__ == '__main__':
    harness.main()
