# SPDX-License-Identifier: MIT OR Apache-2.0
"""One budget for all processes of a host: together they have its rate, also when some come, go or are killed, and whatever
is written into its file.

Measured are bytes over time alone, of processes that begin and end with the same budget. Too fast is always a fault; too slow may
be the machine, so the best of three counts there.
"""
import json
import os
import random
import signal
import time

import facts
import harness
import images
import processes
import reach
from harness import DONE, FAILED, MIB, bp, case, check, note, same
from images import overlay, raw_image

RATE = 16 * MIB


def disks(d, n, size):
    """n overlays, each with data of its own below."""
    return [overlay(f'{d}/top{i}.img', os.path.basename(raw_image(f'{d}/base{i}.img', size))) for i in range(n)]


def pull(d, top, *args, rate=RATE, **options):
    return harness.start(harness.blockpull, 'pull', '--json', f'--host-budget={d}/budget:{rate}', *args, top, **options)


@case('four processes have its rate together')
def together(d):
    size, measured = 80 * MIB, []
    want = 4 * size / RATE
    while len(measured) < 3 and not (measured and min(measured) <= want * 1.01):
        for name in os.listdir(d):
            os.unlink(f'{d}/{name}')
        tops = disks(d, 4, size)
        began = time.monotonic()
        results = [harness.finish(process) for process in [pull(d, top) for top in tops]]
        measured.append(time.monotonic() - began)
        check(all(result.rc == DONE for result in results), str(results))
        note(f'{4 * size / measured[-1] / MIB:.3f} MiB/s of 16: {measured[-1]:.3f} s of {want}')
        check(measured[-1] >= want * 0.99, 'more than the budget has')
        seconds = [json.loads(result.out.splitlines()[-1])['seconds'] for result in results]
        check(min(seconds) > want * 0.7, f'one of them was served first: {seconds}')
        for i, top in enumerate(tops):
            images.judge_pulled(top, 'qcow2', f'{d}/base{i}.img')
    check(min(measured) <= want * 1.01, f'best of three was {min(measured):.3f} s')


@case('a process that is killed takes no share with it')
def killed(d):
    """Two of four are killed half way; what the others do from then on is the whole rate."""
    tops = disks(d, 4, 64 * MIB)
    processes = [pull(d, top, f'--control={top}.c') for top in tops]
    time.sleep(4)
    for process in processes[2:]:
        harness.kill(process, signal.SIGKILL)
    began = time.monotonic()
    left = sum(64 * MIB - bp('ctl', '--json', f'{top}.c', 'info').json()['bytes']['copied'] for top in tops[:2])
    results = [harness.finish(process) for process in processes]
    check(all(result.rc == DONE for result in results[:2]), str(results))
    seconds = time.monotonic() - began
    note(f'{left / seconds / MIB:.3f} MiB/s of 16, of two, after two were killed')
    # A run of each was on its way when they were asked.
    check((left - 4 * MIB) / seconds <= RATE * 1.01, 'more than the budget has')
    check((left + 4 * MIB) / seconds >= RATE * 0.9, 'the share of the killed is lost')


@case('a budget\'s rate changes for all at once')
def changed(d):
    tops = disks(d, 2, 32 * MIB)
    processes = [pull(d, top, f'--control={top}.c', rate=MIB) for top in tops]
    while any(bp('ctl', f'{top}.c', 'info', rc=(DONE, FAILED)).rc != DONE for top in tops):
        time.sleep(0.05)
    bp('ctl', f'{tops[1]}.c', 'host-budget', '64M')
    began = time.monotonic()
    results = [harness.finish(process) for process in processes]
    check(all(result.rc == DONE for result in results), str(results))
    check(time.monotonic() - began < 20, 'the rate did not change')
    result = bp('ctl', f'{d}/none', 'host-budget', 'x', rc=harness.USAGE)
    check('host-budget' in result.err, result.err)


def served(d, top, *parameters):
    """The nbdkit plugin, which pulls. The caller ends it."""
    process = harness.start('nbdkit', '-f', '-U', f'{d}/nbd', facts.nbdkit_plugin(), f'image={top}', 'pull=true', f'control={d}/ctl',
                            *parameters)
    processes.wait_listening(process, f'{d}/ctl', f'{d}/nbd')
    return process


@case('the nbdkit plugin shares it with a command, and changes its rate')
def plugin(d):
    size = 80 * MIB  # what a budget gives at once is little of it
    tops = disks(d, 2, size)
    began = time.monotonic()
    server = served(d, tops[0], f'host-budget={d}/budget:{RATE}')
    command = harness.start(harness.blockpull, 'pull', '-q', f'--host-budget={d}/budget', tops[1])
    same(harness.finish(command).rc, DONE, 'the command')
    bp('ctl', f'{d}/ctl', 'wait')
    seconds, want = time.monotonic() - began, 2 * size / RATE
    note(f'{2 * size / seconds / MIB:.3f} MiB/s of 16')
    check(seconds >= want * 0.99, 'more than the budget has')
    check(seconds <= want * 1.3 + 2, 'they wait for each other')  # 2 s: nbdkit's start
    bp('ctl', f'{d}/ctl', 'host-budget', '32M')
    with open(f'{d}/budget', 'rb') as file:
        check((32 * MIB).to_bytes(8, 'little') in file.read(), 'its rate')
    server.send_signal(signal.SIGTERM)
    harness.finish(server)
    for i, top in enumerate(tops):
        images.judge_pulled(top, 'qcow2', f'{d}/base{i}.img')


@case('a file that is cut beside the plugin does not end it')
def plugin_cut(d):
    top = disks(d, 1, 24 * MIB)[0]
    server = served(d, top, f'host-budget={d}/budget:{RATE}')
    os.truncate(f'{d}/budget', 0)
    bp('ctl', f'{d}/ctl', 'wait')
    server.send_signal(signal.SIGTERM)
    result = harness.finish(server)
    check('warning: host-budget: ' in result.err, f'not a word of it: {result}')
    images.judge_pulled(top, 'qcow2', f'{d}/base0.img')


@case('what of it the plugin can\'t use it refuses at its start')
def plugin_refuses(d):
    top = disks(d, 1, MIB)[0]
    for parameters, words in ((['pull=true', f'host-budget={d}/budget'], 'host-budget: '), (['pull=true', 'host-budget='], 'the name'),
                              ([f'host-budget={d}/budget:1M'], 'no pull is asked for'),
                              (['pull=true', f'host-budget={d}/b:1M', f'host-budget={d}/b:2M'], 'twice')):
        result = harness.run('nbdkit', '-f', '-U', f'{d}/nbd', facts.nbdkit_plugin(), f'image={top}', *parameters, '--run', 'true')
        check(result.rc != 0 and words in result.err, f'{parameters}: {result}')


@case('whatever is written into it, no pull hangs', 'garbage')
@case('no pull hangs if the budget is cut', 'cut')
@case('no pull hangs if the budget is emptied beside it', 'zeros')
def hostile(d, what):
    chosen = random.Random(7)
    tops = disks(d, 2, 24 * MIB)
    processes = [pull(d, top) for top in tops]
    while not os.path.exists(f'{d}/budget') or os.path.getsize(f'{d}/budget') != 4096:
        time.sleep(0.01)
    time.sleep(0.3)
    with open(f'{d}/budget', 'r+b') as file:
        if what == 'cut':
            file.truncate(0)
        elif what == 'zeros':
            file.write(bytes(4096))
        else:
            for _ in range(20):
                file.seek(40)  # the rate and the time; what is before says that it is a budget
                file.write((chosen.getrandbits(63) | 1 << 62).to_bytes(8, 'little') * 2)
                file.flush()
                time.sleep(0.05)
    results = [harness.finish(process, timeout=60) for process in processes]
    for i, result in enumerate(results):
        same(result.rc, DONE, str(result))
        check('warning: --host-budget: ' in result.err, f'not a word of it: {result}')
        images.judge_pulled(tops[i], 'qcow2', f'{d}/base{i}.img')


@case('what is no budget is refused, and left as it is')
def refused(d):
    top = disks(d, 1, MIB)[0]
    with open(f'{d}/text', 'w', encoding='ascii') as file:
        file.write('my notes')
    with open(f'{d}/page', 'wb') as file:
        file.write(b'my notes' * 512)
    os.mkfifo(f'{d}/fifo')
    os.symlink('budget', f'{d}/link')
    with open(f'{d}/empty', 'wb'):
        pass
    for value, words in ((f'{d}/text:16M', "no budget's file"), (f'{d}/page:16M', 'something else'), (f'{d}/fifo:16M', "no budget's file"),
                         (f'{d}/link:16M', ''), (f'{d}/budget', 'say its rate'), (f'{d}/empty', 'say its rate'),
                         ('', 'is missing'), (':5M', 'is missing'),
                         (f'{d}/budget:16Mx', 'say its rate'), (f'{d}/none/budget:1M', 'No such file'),
                         (f'{d}/b2:17G', '16 GiB')):
        result = bp('pull', f'--host-budget={value}', top, rc=None)
        check(result.rc not in (DONE, harness.USAGE) and words in result.err and '--host-budget' in result.err, f'{value}: {result}')
    same(open(f'{d}/text', encoding='ascii').read(), 'my notes', 'the file')
    same([name for name in os.listdir(d) if name.startswith('budget')], [], 'files of a budget without a rate')
    bp('pull', '--dry-run', f'--host-budget={d}/dry:16M', top)
    check(not os.path.exists(f'{d}/dry'), 'a dry run has made a budget')
    bp('pull', f'--host-budget={d}/budget:0', top)


FULL = r'''
mount -t tmpfs -o size=64k none "$1/small" || exit
dd if=/dev/zero of="$1/small/fill" bs=4k 2>/dev/null
truncate -s 4096 "$1/small/hole"
"$2" pull --host-budget="$1/small/new:16M" "$1/top0.img" && exit 98
[ $? -eq 7 ] || exit 97
"$2" pull --host-budget="$1/small/hole:16M" "$1/top0.img"
'''


@case('a full file system is told, and ends no process')
def full_disk(d):
    namespace = reach.mounting(f'{d}/small')
    top = disks(d, 1, MIB)[0]
    before = images.Untouched(top)
    result = harness.run(*namespace, 'sh', '-c', FULL, 'sh', d, harness.blockpull)
    same(result.rc, harness.NO_SPACE, f'exit code: {result}')
    for name in 'new', 'hole':
        check(f"small/{name}': No space" in result.err, result.err)
    before.verify('although its budget was refused')


if __name__ == '__main__':
    harness.main()
