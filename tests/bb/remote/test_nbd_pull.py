# SPDX-License-Identifier: MIT OR Apache-2.0
"""Whole pulls of bases behind NBD servers, by a small program (tests/nbd/pull_driver.c), judged by qemu-img."""
import os
import queue
import threading
import time

import harness
from harness import Failed, MIB, case, check, same
from remote_images import base, judge, overlay
from source_rig import end, nbdkit


class Pull:
    def __init__(self, *words):
        path = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'nbd_pull_driver')
        if not os.path.exists(path):
            raise harness.Skip('libblockpull-nbd is not built')
        self.process = harness.start(path, *words)
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode(errors='replace').rstrip('\n'))
        self.lines.put(None)

    def wait(self, start, unless=()):
        """The next line that begins so; none of `unless` may come before it."""
        deadline = time.monotonic() + harness.WAIT
        while True:
            try:
                line = self.lines.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f'no line "{start}": {self.seen[-20:]}') from None
            if line is None:
                raise Failed(f'it has ended without "{start}": {self.seen[-20:]} {self.process.stderr.read().decode()}')
            self.seen.append(line)
            check(not line.startswith(tuple(unless)), f'{line}, before {start}')
            if line.startswith(start):
                return line

    def completed(self):
        same(self.wait('end '), 'end completed 0 ', 'the end')
        same(self.process.wait(harness.WAIT), 0, 'its exit code')


@case('a raw base, and one of compressed qcow2, with and without a broker')
def whole(d):
    for fmt in 'raw', 'qcow2':
        for words in ([], ['broker=1'], ['verify=1']):
            os.makedirs(f'{d}/{fmt}{"".join(words)}')
            here = f'{d}/{fmt}{"".join(words)}'
            path, flat = base(here, fmt)
            server = nbdkit(f'{here}/s', '-r', 'file', path)
            top = overlay(here, f'nbd+unix:///?socket={here}/s', fmt)
            pull = Pull(top, f'allow=nbd+unix:{here}', *words)
            pull.completed()
            judge(top, flat)
            end(server)


@case('names of json: and colons, a mapped name, and a chain of three')
def names(d):
    path, flat = base(d, 'qcow2')
    server = nbdkit(f'{d}/s', '-r', 'file', path)
    forms = [f'nbd:unix:{d}/s',
             f'json:{{"driver":"qcow2","file":{{"driver":"nbd","server":{{"type":"unix","path":"{d}/s"}}}}}}']
    for i, name in enumerate(forms):
        top = overlay(d, name, 'qcow2', name=f'{i}.qcow2')
        pull = Pull(top, f'allow=nbd+unix:{d}')
        pull.completed()
        judge(top, flat)
    middle = overlay(d, 'https://images.example/golden', 'qcow2', name='middle.qcow2')
    top = overlay(d, middle, 'qcow2', name='three.qcow2')
    Pull(top).wait('open -')
    pull = Pull(top, f'map=https://images.example/golden=nbd+unix:///?socket={d}/s')
    pull.completed()
    judge(top, flat)
    end(server)


@case('a server that is away for three seconds costs only time')
def away(d):
    path, flat = base(d, 'raw')
    server = nbdkit(f'{d}/s', '-r', '--filter=rate', 'file', path, 'rate=16M')
    top = overlay(d, f'nbd+unix:///?socket={d}/s', 'raw')
    pull = Pull(top, f'allow=nbd+unix:{d}', 'request=2')
    pull.wait('begun')
    time.sleep(0.2)
    end(server, f'{d}/s')
    time.sleep(3)
    server = nbdkit(f'{d}/s', '-r', 'file', path)
    pull.wait('end completed', ('stopped', 'end failed'))
    same(pull.process.wait(harness.WAIT), 0, 'its exit code')
    judge(top, flat)
    end(server)


@case('away for longer: the job stops, goes on by itself, and guests are told')
def stops(d):
    path, flat = base(d, 'raw')
    server = nbdkit(f'{d}/s', '-r', '--filter=rate', 'file', path, 'rate=16M')
    top = overlay(d, f'nbd+unix:///?socket={d}/s', 'raw')
    pull = Pull(top, f'allow=nbd+unix:{d}', 'remote=2', 'guest=1', 'request=2', f'read={61 * MIB}')
    pull.wait('begun')
    pull.wait('guest 0')
    end(server, f'{d}/s')
    pull.wait('stopped -113', ('end',))
    pull.wait('guest -5', ('end',))
    server = nbdkit(f'{d}/s', '-r', 'file', path)
    pull.wait('resumed', ('end',))
    pull.completed()
    judge(top, flat)
    end(server)


@case('another disk comes back: the job fails, and the link stays')
def another(d):
    path, _ = base(d, 'raw')
    server = nbdkit(f'{d}/s', '-r', '--filter=rate', 'file', path, 'rate=16M')
    name = f'nbd+unix:///?socket={d}/s'
    top = overlay(d, name, 'raw')
    pull = Pull(top, f'allow=nbd+unix:{d}', 'request=2')
    pull.wait('begun')
    time.sleep(0.2)
    end(server, f'{d}/s')
    server = nbdkit(f'{d}/s', 'pattern', '64M')
    check(pull.wait('end ').startswith('end failed -116'), f'{pull.seen}')
    same(pull.process.wait(harness.WAIT), 0, 'its exit code')
    same(harness.run('qemu-img', 'check', top).rc, 0, 'check')
    same(harness.run('qemu-img', 'info', '-U', '--output=json', top).json()['backing-filename'], name, 'the link')
    end(server)


if __name__ == '__main__':
    harness.main(workers=2)
