# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull serve, from outside: a frontend of our own (tests/serve/) that plays the VMMs' messages and checks
every byte while the backend dies, and QEMU with its firmware, whose driver is a stranger's.
"""
import os
import re
import shlex
import signal
import socket
import stat
import struct
import time

import facts
import harness
import images
import processes
from harness import DONE, LOCKED, MIB, REFUSED, USAGE, Skip, bp, case, check, need, refused, same
from images import image_check, image_info, overlay, qemu_img, raw_image
from serve_rig import FIRST, SIZE, Front, after_the_guest, ask, boot_disk, check_rows, child, cpu_seconds, disk, end, frontend, hear, machine, say, serial, serving, traced, wait_for_rows, written_rows


# ---- The command --------------------------------------------------------------------------------

@case('what it can do is told as QEMU wants it, whatever else is on the line')
def capabilities(d):
    told = bp('serve', '--print-capabilities', '--socket-path=x').json()
    same(told['type'], 'block', 'type')
    same(sorted(told['features']), ['blk-file', 'read-only'], 'features')


@case('the program that QEMU\'s conventions want is a link')
def own_name(d):
    if facts.emulated():
        raise Skip('a script stands for the command, and it has one name')
    os.symlink(harness.blockpull, f'{d}/blockpull-serve')
    same(bp('--print-capabilities', command=f'{d}/blockpull-serve').json()['type'], 'block', 'type')
    refused(USAGE, ['image'], '--socket-path=s', command=f'{d}/blockpull-serve')


@case('command lines that make no sense')
def usage(d):
    top = disk(d)
    for words, args in ((['image'], ['--socket-path=s']), (['--socket-path', '--fd'], [top]),
                        (['--fd'], ['--fd=3', '--socket-path=s', top]), (['--pull'], ['--socket-path=s', '--verify', top]),
                        (['--queues', '256'], ['--socket-path=s', '--queues=300', top]),
                        (['--serial', '20'], ['--socket-path=s', f'--serial={"x" * 21}', top]),
                        (['--read-only'], ['--socket-path=s', '--read-only', '--pull', top]),
                        (['--trace', 'twice'], ['--socket-path=s', '--trace=a', '--trace=b', top]),
                        (['--blk-file'], ['--socket-path=s', f'--blk-file={top}', top]),
                        (['--blk-file', 'twice'], ['--socket-path=s', '--blk-file=a', '--blk-file=b']),
                        (['--fd', 'twice'], ['--fd=8', '--fd=9', top])):
        refused(USAGE, words, 'serve', *args)
    refused(1, ['socket'], 'serve', '--fd=0', top)
    refused(REFUSED, ['raw', '--format=raw'], 'serve', f'--socket-path={d}/s', f'{d}/base.raw')
    raw_image(f'{d}/file', 1)
    refused(1, ['no socket'], 'serve', f'--socket-path={d}/file', top)
    refused(1, [f'{d}/no/s', 'directory', 'does not exist'], 'serve', f'--socket-path={d}/no/s', top)
    refused(1, ['shorter', d[:20]], 'serve', f'--socket-path={d}/{"x" * 120}', top)
    refused(1, ['--fd', 'not open'], 'serve', '--fd=99', top)
    for family, words in (socket.AF_UNIX, 'nor is connected'), (socket.AF_INET, 'no Unix'):
        with socket.socket(family) as sock:
            refused(1, ['--fd', words], 'serve', f'--fd={sock.fileno()}', top, pass_fds=[sock.fileno()])
    refused(USAGE, ['two names'], 'serve', f'--socket-path={d}/s', f'--control={d}/s', top)


@case('the image is locked, and a socket that another process has is left alone')
def locked(d):
    top = disk(d)
    server = serving(d, top)
    refused(LOCKED, ['lock'], 'serve', f'--socket-path={d}/other', top)
    other = overlay(f'{d}/other.img', 'base.raw')
    refused(LOCKED, ['listens'], 'serve', f'--socket-path={d}/s', other)
    end(server)
    check(not os.path.exists(f'{d}/s'), 'the socket is left behind')


@case('the socket of a killed server is replaced')
def stale(d):
    top = disk(d)
    end(serving(d, top), signal.SIGKILL, 137)
    check(stat.S_ISSOCK(os.stat(f'{d}/s').st_mode), 'the socket is gone')
    end(serving(d, top), signal.SIGINT)


@case('--fd takes a connected socket, and ends with it')
def given(d):
    top = disk(d)
    ours, theirs = socket.socketpair()
    server = harness.start(harness.blockpull, 'serve', f'--fd={theirs.fileno()}', top, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.sendall(bytes([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))
    answer = ours.recv(100)
    same(answer[:12], bytes([1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0]), 'the answer to GET_FEATURES')
    ours.close()
    same(harness.finish(server, timeout=20).rc, DONE, 'the end')


@case('a guest that has been busy and is idle costs no processor time')
@case('a guest that has been busy and is idle costs no processor time, with threads', '--io=threads')
def idle(d, *args):
    server, front = serving(d, *args, disk(d)), Front(d)
    front.runs()
    for n in range(200):
        front.do('write', 0, 8 * n, 0x21, answer=0)
        front.do('read', 0, 8 * n, answer=0x21)
    time.sleep(3)  # the last commit is over
    before = cpu_seconds(server)
    time.sleep(2)
    took = cpu_seconds(server) - before
    check(took < 0.02, f'{took:.3f} s of processor time in 2 s')
    front.do('read', 0, 0, answer=0x21)
    front.over()
    end(server)


@case('a filter is closed behind the open files')
def filtered(d):
    harness.need_sandbox()
    if facts.emulated():
        raise Skip('qemu-user sets no filter')
    server = serving(d, disk(d))
    deadline = time.monotonic() + harness.WAIT
    while True:
        with open(f'/proc/{server.pid}/status', encoding='ascii') as status:
            if 'Seccomp:\t2\n' in status.read():
                break
        check(time.monotonic() < deadline, 'there is no filter')
        time.sleep(0.01)
    frontend('load', '-s', 1, '-n', SIZE, f'{d}/s')
    end(server)


# ---- Requests, by our own frontend --------------------------------------------------------------

@case('each VMM in turn with queues as it makes them, on a disk that stays open: QEMU 7.2 and before, Cloud Hypervisor, crosvm, Firecracker')
def orders(d):
    top = disk(d)
    said = frontend('orders', '-f', FIRST, '--', harness.blockpull, 'serve', f'--socket-path={d}/s', '--queues=8', top)
    same(sorted(set(said.out.split())), ['cloud-hypervisor', 'crosvm', 'firecracker', 'qemu', 'qemu-old'], 'VMMs')
    same(len(said.out.split()), 8, 'kinds of queues')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


def storm(d, top, *args, server=(), timeout=180):
    said = frontend('storm', '-f', FIRST, '-d', 32, *args, '--', harness.blockpull, 'serve', '--quiet',
                    f'--socket-path={d}/s', *facts.possible(server), top, timeout=timeout)
    harness.note(said.out.strip() + ', ' + said.err.splitlines()[0])
    return int(said.out.split()[2])


@case('requests at random, every byte checked', 'uring')
@case('requests at random, every byte checked, with threads', 'threads')
def random_requests(d, io):
    top = disk(d)
    storm(d, top, '-q', 2, '-s', 3, server=[f'--io={io}'])
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('killed every 300 ms: what was acknowledged is there, what was not is done once', 'qemu')
@case('killed every 300 ms: Cloud Hypervisor, long rings and indirect descriptors', 'cloud-hypervisor', '-i', '-z', 1024)
@case('killed every 300 ms: a QEMU before 7.2', 'qemu-old')
def killed(d, order, *args):
    top = disk(d)
    n = storm(d, top, '-q', 2, '-s', 8, '-k', 300, '-o', order, *args)
    check(n >= 3, f'only {n} deaths')
    images.check_leaks_at_worst(top, 'qcow2')


@case('killed every 300 ms while the chain is pulled')
def killed_pull(d):
    top = disk(d)
    storm(d, top, '-s', 8, '-k', 300, server=['--pull', '--bandwidth=4M'])
    images.check_leaks_at_worst(top, 'qcow2')


@case('killed with small clusters', 'qcow2', 'cluster_size=4k')
@case('killed with extended L2 entries', 'qcow2', 'extended_l2=on')
@case('killed with QED', 'qed', None)
def killed_formats(d, fmt, options):
    top = disk(d, fmt, options)
    storm(d, top, '-s', 5, '-k', 300)
    images.check_leaks_at_worst(top, fmt)


@case('killed with an internal snapshot, whose clusters are not the disk\'s')
def killed_snapshot(d):
    top = disk(d)
    images.qemu_io(top, 'qcow2', f'write -P {FIRST} 0 8M')
    qemu_img('snapshot', '-c', 'one', top)
    storm(d, top, '-s', 5, '-k', 300)
    images.check_leaks_at_worst(top, 'qcow2')


@case('killed with a raw image')
def killed_raw(d):
    disk(d)
    storm(d, f'{d}/base.raw', '-s', 4, '-k', 300, server=['--format=raw'])


@case('ended by SIGTERM and started again, with copy-on-read: nothing is to be mended')
def terminated(d):
    top = disk(d)
    storm(d, top, '-s', 4, '-k', 400, '-t', server=['--copy-on-read'])
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('a pull completes under a guest, and the image stands alone')
def pulled(d):
    top = disk(d)
    storm(d, top, '-s', 3, server=['--pull', '--verify'])
    check('backing-filename' not in image_info(top), 'it has a backing file still')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('what no frontend should do: logs and memory that are too short, states that are none, noise, rings of nonsense')
def hostile(d):
    if not facts.told_of_sigbus():
        raise Skip('qemu-user tells a handler of SIGBUS a wrong address')
    top = disk(d)
    said = frontend('hostile', '-f', FIRST, '--', harness.blockpull, 'serve', f'--socket-path={d}/s', top).err
    check(re.search(r'ring \d+ makes no sense', said), f'of rings of nonsense it says: {said[-2000:]}')
    images.check_leaks_at_worst(top, 'qcow2')


@case('the control socket steers a pull')
def control(d):
    top = disk(d)
    server = serving(d, '--pull', '--bandwidth=1M', f'--control={d}/c', top)
    check('bandwidth' in bp('ctl', '--json', f'{d}/c', 'info').out, 'no numbers')
    bp('ctl', f'{d}/c', 'guest-p99', '8ms')
    check("guest's p99 below 8 ms" in bp('ctl', f'{d}/c', 'info').out, 'what ctl tells')
    bp('ctl', f'{d}/c', 'guest-p99', '0')
    bp('ctl', f'{d}/c', 'speed', '0')
    bp('ctl', f'{d}/c', 'wait')
    end(server)
    check('backing-filename' not in image_info(top), 'it has a backing file still')


@case('a client starts a pull to a base behind the closed filter')
def control_base(d):
    os.rename(disk(d), f'{d}/mid.img')
    images.qemu_io(f'{d}/mid.img', 'qcow2', 'write -P 0x77 8M 1M')
    top = overlay(f'{d}/top.img', 'mid.img', base_fmt='qcow2')
    server = serving(d, f'--control={d}/c', top)
    said = ask(f'{d}/c', {'execute': 'block-stream', 'arguments': {'device': top, 'base': f'{d}/base.raw'}})[0]
    same('return' in said, True, f'block-stream: {said}')
    bp('ctl', f'{d}/c', 'wait')
    end(server)
    same(image_info(top).get('backing-filename'), 'base.raw', 'the backing file')
    images.qemu_io(top, 'qcow2', 'read -P 0x77 8M 1M')


def stands_still(pid):
    """Whether a thread is where strace holds it before a call: stopped each time one looks."""
    def stopped():
        states = set()
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/stat', encoding='ascii') as file:
                states |= {task} if file.read().rpartition(')')[2].split()[0] == 't' else set()
        return states
    found = stopped()
    for _ in range(20):
        time.sleep(0.02)
        found &= stopped()
    return bool(found)


@case('while what was written becomes durable before a snapshot, the machine goes on')
def beside_snapshot(d):
    # This frontend's writes are durable when it flushes, not before their answers; and no sync ends. Where the kernel has
    # no Landlock, a directory goes without the sandbox only.
    tracer, front = traced(d, 'fdatasync', '--no-sandbox', f'--control={d}/c', f'--snapshot-dir={d}', disk(d), inject=['fdatasync:delay_enter=600s'],
                           front=('-o', 'firecracker'))
    front.do('write', 0, 0, 0x22, answer=0)
    client = harness.start(harness.blockpull, 'ctl', f'{d}/c', 'snapshot', f'{d}/new.qcow2')
    server = child(tracer)
    deadline = harness.clock() + harness.WAIT
    while not stands_still(server):
        check(harness.clock() < deadline, 'no sync begins')
    for words, answer in (('write', 0, 8, 0x23), '0'), (('read', 0, 8), str(0x23)):
        front.begin(*words)
        same(front.answered(harness.WAIT), answer, f'{words}')
    check(not os.path.exists(f'{d}/new.qcow2'), 'the new image is made before what was written is durable')
    os.kill(server, signal.SIGKILL)
    for process in tracer, client:
        harness.kill(process)
        harness.finish(process)
    front.dies()


def blockstats(path, **arguments):
    return ask(path, {'execute': 'query-blockstats', 'arguments': arguments})[0]


@case('requests are counted as QEMU counts them, and ctl tells of them')
def stats(d):
    top = disk(d)
    server = serving(d, f'--control={d}/c', top)
    frontend('load', '-w', '-d', 4, '-s', 1, '-n', SIZE, f'{d}/s')
    frontend('load', '-d', 4, '-s', 1, '-n', SIZE, f'{d}/s')
    answer = blockstats(f'{d}/c')['return']
    told, text = bp('ctl', f'{d}/c', 'info', '--json').json(), bp('ctl', f'{d}/c', 'info').out
    by_node = blockstats(f'{d}/c', **{'query-nodes': True})['return']
    same(by_node[0]['stats'], answer[0]['stats'], 'the counters by node')
    same([(node['node-name'], node['stats']['rd_operations'] + node['stats']['wr_operations']) for node in by_node[1:]],
         [('#block000', 0), ('#layer1', 0), ('#block001', 0)], 'the other nodes')
    end(server)
    same([device['device'] for device in answer], [top], 'devices')
    counted = answer[0]['stats']
    for kind in 'rd', 'wr':
        n = counted[f'{kind}_operations']
        check(n > 10, f'{kind}: {n} operations')
        same(counted[f'{kind}_bytes'], 4096 * n, f'{kind}: bytes')
        same(sum(counted[f'{kind}_latency_histogram']['bins']), n, f'{kind}: the histogram')
        same(counted[f'failed_{kind}_operations'], 0, f'{kind}: failed')
        # A copy of 4 KiB alone takes longer than the least.
        check(100 * n < counted[f'{kind}_total_time_ns'] < 4 * 2 * 10 ** 9, f'{kind}: {counted[f"{kind}_total_time_ns"]} ns in a second, 4 in flight')
    same(counted['unmap_operations'], 0, 'discards')
    check(0 < counted['wr_highest_offset'] <= SIZE, f'wr_highest_offset: {counted["wr_highest_offset"]}')
    same((told['event'], told['filename'], told['stats']), ('idle', top, counted), 'ctl info --json')
    check(f'{counted["rd_operations"]} reads of ' in text and 'no job' in text, f'ctl info: {text}')


def shape(value):
    """The types of all members; a list's are those of its first."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    return [shape(member) for member in value[:1]] if isinstance(value, list) else type(value)


@case('query-blockstats has the members, and the types, of QEMU\'s')
def stats_shape(d):
    need('qemu-system-x86_64')
    top = disk(d)
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/other', '1M')
    qemu = harness.start('qemu-system-x86_64', '-M', 'q35,accel=tcg', '-S', '-display', 'none', '-net', 'none', '-drive',
                         f'if=none,id=drive0,file={d}/other,format=qcow2', '-device', 'virtio-blk-pci,id=v,drive=drive0',
                         '-qmp', f'unix:{d}/q,server=on,wait=off')
    processes.wait_listening(qemu, f'{d}/q')
    bounds = {'execute': 'block-latency-histogram-set', 'arguments': {'id': '/machine/peripheral/v/virtio-backend', 'boundaries': [1000, 2000]}}
    same('return' in ask(f'{d}/q', bounds)[0], True, 'QEMU has histograms')
    theirs = next(device for device in blockstats(f'{d}/q')['return'] if device['device'] == 'drive0')['stats']
    harness.kill(qemu)
    harness.finish(qemu)
    server = serving(d, f'--control={d}/c', top)
    frontend('load', '-d', 4, '-s', 1, '-n', SIZE, f'{d}/s')
    ours = blockstats(f'{d}/c')['return'][0]['stats']
    end(server)
    # When a disk was used last is told by QEMU only where it was.
    same({key: what for key, what in shape(ours).items() if not key.startswith('x-')}, {key: what for key, what in shape(theirs).items() if key != 'idle_time_ns'}, 'members')
    for name, histogram in ours.items():
        if name.endswith('histogram'):
            same(len(histogram['bins']), len(histogram['boundaries']) + 1, name)
            check(histogram['boundaries'] == sorted(set(histogram['boundaries'])), name)


def capacity(sock):
    say(sock, 24, struct.pack('<III', 0, 60, 0) + bytes(60))
    return struct.unpack_from('<Q', hear(sock)[1], 12)[0] * 512


@case('a disk is made longer while it is served, and the frontend is told')
def resized(d):
    top = disk(d)
    with open(f'{d}/base.raw', 'ab') as base:  # the base is longer than the disk, and full
        base.write(bytes([FIRST]) * 4 * MIB)
    server = serving(d, f'--control={d}/c', top)
    with socket.socket(socket.AF_UNIX) as front:
        front.connect(f'{d}/s')
        ours, theirs = socket.socketpair()
        say(front, 16, struct.pack('<Q', 1 << 9 | 1 << 5))  # CONFIG, BACKEND_REQ
        say(front, 21, bytes(8), [theirs.fileno()])
        same(capacity(front), SIZE, 'before')
        for how, size in (('+2M', SIZE + 2 * MIB), (str(SIZE + 3 * MIB), SIZE + 3 * MIB)):
            bp('ctl', f'{d}/c', 'resize', how)
            same(hear(ours), (2, b''), 'what the frontend is told')
            same(capacity(front), size, 'after')
        refused(1, ['shorter'], 'ctl', f'{d}/c', 'resize', '1M')
        for args, words in ({'size': -1}, 'size'), ({'size': 1 << 30, 'node-name': '#layer1'}, 'read-only'), \
                ({'size': 1 << 30, 'device': 'x'}, "device='x'"), ({'size': 512, 'device': 'x', 'node-name': '#layer0'}, 'shorter'), ({'size': 1 << 30, 'x': 1}, 'unexpected'), ({}, "'size' is missing"):
            said = ask(f'{d}/c', {'execute': 'block_resize', 'arguments': args})[0]
            check(words in said['error']['desc'], f'{args}: {said}')
        nodes = ask(f'{d}/c', {'execute': 'query-named-block-nodes'})[0]['return']
        same(nodes[0]['image']['virtual-size'], SIZE + 3 * MIB, 'query-named-block-nodes')
        same(capacity(front), SIZE + 3 * MIB, 'what was refused changed nothing')
        ours.close()
        theirs.close()
    frontend('load', '-w', '-d', 4, '-s', 1, '-n', SIZE, f'{d}/s')
    end(server)
    same(image_info(top)['virtual-size'], SIZE + 3 * MIB, 'size')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    with open(images.flatten(top, 'qcow2', f'{d}/flat'), 'rb') as flat:
        flat.seek(SIZE)
        check(not any(flat.read()), 'the new end shows the base')


# ---- Firmware -----------------------------------------------------------------------------------

@case('SeaBIOS boots from it under QEMU, reads and writes')
def boots(d):
    top = boot_disk(d)
    server = serving(d, top)
    result = harness.finish(machine(d), timeout=90)
    same(result.rc, 33, f'QEMU: {result}')
    end(server)
    check_rows(d, top)


def page_commands():
    """The blocks of docs/vmm.md, as words of a shell."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', 'docs', 'vmm.md')
    with open(page, encoding='utf-8') as file:
        return [shlex.split(block.replace('\\\n', '')) for block in re.findall(r'^```\n([^<]*?)^```$', file.read(), re.M)]


@case('the command lines of docs/vmm.md serve a machine under QEMU')
def page(d):
    os.rename(boot_disk(d), f'{d}/vm.qcow2')
    commands = page_commands()
    serve, = (words for words in commands if words[0] == 'blockpull')
    qemu, = (words for words in commands if words[0] == 'qemu-system-x86_64')
    server = harness.start(harness.blockpull, *serve[1:], cwd=d)
    processes.wait_listening(server, 'vm.sock')
    started = harness.start(*qemu, '-M', 'q35,accel=tcg', '-display', 'none', '-vga', 'none', '-net', 'none', '-serial', 'file:serial',
                            '-device', 'isa-debug-exit,iobase=0xf4', '-no-reboot', cwd=d)
    result = harness.finish(started, timeout=90)
    same(result.rc, 33, f'QEMU: {result}')
    end(server)
    check_rows(d, f'{d}/vm.qcow2')


@case('a guest moves from one QEMU to another, and writes on: each of its writes was done on one side')
def migrates(d):
    disks, machines = [f'{d}/one', f'{d}/two'], []
    # The guest that writes starts last: a busy machine takes its time with two, and this one does not wait to be moved.
    for place, args in reversed(list(zip(disks, ([], ['-incoming', f'unix:{d}/in'])))):
        os.mkdir(place)
        top = boot_disk(place)
        server = serving(place, top)
        machines.append((place, top, server, machine(place, '-qmp', f'unix:{place}/q,server=on,wait=off', *args)))
        processes.wait_listening(machines[-1][3], f'{place}/q')
    (there, top_there, server_there, qemu_there), (here, top, server, qemu) = machines
    wait_for_rows(here, 40)
    same('return' in ask(f'{here}/q', {'execute': 'migrate', 'arguments': {'uri': f'unix:{d}/in'}})[0], True, 'it migrates')
    result = harness.finish(qemu_there, timeout=90)
    same(result.rc, 33, f'the second QEMU: {result}')
    status = ask(f'{here}/q', {'execute': 'query-migrate'}, {'execute': 'quit'})[0]['return']
    same(status['status'], 'completed', f'the migration: {status}')
    harness.finish(qemu)
    end(server)
    end(server_there)
    before, after = written_rows(here, top), written_rows(there, top_there)
    check(len(before) >= 40 and after, f'{len(before)} writes before and {len(after)} behind the move')
    same(before | after, set(range(200)), 'writes that were done')
    same(before & after, set(), 'writes that were done twice')
    for image in (top, top_there):
        same(image_check(image, 'qcow2'), 0, 'qemu-img check')


@case('SeaBIOS goes on through five kills of the backend under QEMU')
def boots_through_kills(d):
    top = boot_disk(d)
    server, qemu = serving(d, top), machine(d)
    deadline = time.monotonic() + harness.WAIT
    rows = 0
    for n in range(5):
        # Beyond what was done before the last death: QEMU before 9.1 never asks again where a server dies while it connects.
        while serial(d).count('.') < max(10 * n + 3, rows + 1):
            check(qemu.poll() is None, f'QEMU has ended: {serial(d)}')
            check(time.monotonic() < deadline, f'the guest stands still: {serial(d)}')
            time.sleep(0.02)
        end(server, signal.SIGKILL, 137)
        rows = serial(d).count('.')
        server = serving(d, top)
    result = harness.finish(qemu, timeout=90)
    same(result.rc, 33, f'QEMU: {result}')
    end(server)
    check_rows(d, top)
    harness.note(f'{result.seconds:.1f} s')


# ---- After the end of a pull --------------------------------------------------------------------

@case('files that a pull has let go are other programs\' while the guest runs on')
@case('files above a base that stays are other programs\' while the guest runs on', 'base.qcow2')
def let_go(d, *base):
    boot_disk(d)
    mid = overlay(f'{d}/mid.img', 'base.qcow2', base_fmt='qcow2')
    images.qemu_io(mid, 'qcow2', 'write -P 7 2M 64k')
    top = overlay(f'{d}/top.img', 'mid.img', base_fmt='qcow2')
    wanted = after_the_guest(top, f'{d}/wanted')
    server = serving(d, '--pull', f'--control={d}/c', *(f'--base={name}' for name in base), top)
    bp('ctl', f'{d}/c', 'wait')
    for name in [mid] if base else [mid, f'{d}/base.qcow2']:
        images.qemu_io(name, 'qcow2', 'write -P 0x99 0 4M')
        os.unlink(name)
        check(not any(opened.startswith(name) for opened in processes.open_names(server.pid)), f'{name} takes space still')
    if base:
        result = harness.run('qemu-io', '-f', 'qcow2', '-c', 'write 0 512', f'{d}/base.qcow2')
        check(result.rc and 'lock' in result.err, f'the base that stays: {result}')
    result = harness.finish(machine(d), timeout=90)
    same(result.rc, 33, f'QEMU: {result}')
    end(server)
    same(image_info(top).get('backing-filename'), base[0] if base else None, 'the backing file')
    images.compare_flat(top, 'qcow2', wanted)


if __name__ == '__main__':
    harness.main(workers=2)
