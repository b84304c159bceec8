# SPDX-License-Identifier: MIT OR Apache-2.0
"""How much of a link's bandwidth a pull uses: each request is answered 5 ms late, and the link has a rate. Beside it, in
the same run and over the same server, what nbdcopy reaches, and `qemu-img rebase`. Figures; nothing of time is asserted."""
import os
import sys
import time

from rig import MIB, end, need

SLOW, FAST = 800, 8000  # million bits a second


def timed(rig, *argv):
    began = time.monotonic()
    rig.run(*argv)
    return time.monotonic() - began


def one(rig, what, fmt, path, rate):
    """(nbdcopy's, ours and qemu-img's seconds) for a base of this file."""
    server, uri = rig.nbdkit('--filter=delay', '--filter=rate', 'file', path, 'rdelay=5ms', f'rate={rate}M', 'burstiness=0.05',
                             sock=f'{what}-{rate}')
    seconds = []
    for argv in (['nbdcopy', '--', uri, 'null:'], [rig.blockpull, 'pull', '-q', f'--allow-remote=nbd+unix:{rig.d}'],
                 ['qemu-img', 'rebase', '-f', 'qcow2', '-b', '']):
        if argv[0] != 'nbdcopy':
            top, twin = rig.overlay(uri, path, fmt, top=f'{what}-{len(seconds)}')
            argv = [*argv, top]
        os.sync()  # what was written before is not this run's
        seconds.append(timed(rig, *argv))
        if argv[0] != 'nbdcopy':
            rig.judge(top, twin)
            top.unlink()
    end(server)
    size = os.stat(path).st_size / MIB
    print(f'# {what:<11}{size:5.0f} MiB at {rate // 8:4} MB/s; nbdcopy {seconds[0]:5.2f} s ({size / seconds[0]:4.0f} MiB/s); a pull {seconds[1]:5.2f} s: '
          f'{seconds[0] / seconds[1]:.2f} of its bandwidth; qemu-img rebase {seconds[2]:6.2f} s, {seconds[2] / seconds[1]:.1f} times ours',
          file=sys.stderr, flush=True)
    return f'{what} at {rate // 8} MB/s {seconds[0] / seconds[1]:.2f} (qemu-img: {seconds[2] / seconds[1]:.1f} times as long)'


def link(rig):
    need('nbdkit', 'nbdcopy')
    raw = rig.d / 'base.raw'
    with open(raw, 'wb') as out:
        for _ in range(rig.mib):
            out.write(rig.rng.randbytes(MIB // 2) + b'half of it compresses, ' * 22795 + bytes(3))
    bases = [('raw', 'raw', raw)]
    for what, words in ('qcow2', []), ('compressed', ['-c']):
        bases.append((what, 'qcow2', rig.d / f'{what}.img'))
        rig.run('qemu-img', 'convert', *words, '-f', 'raw', '-O', 'qcow2', raw, bases[-1][2])
    return "of nbdcopy's bandwidth: " + ', '.join(one(rig, *base, rate) for rate in (SLOW, FAST) for base in bases)
