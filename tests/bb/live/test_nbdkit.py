# SPDX-License-Identifier: MIT OR Apache-2.0
"""The nbdkit plugin, used by other people's NBD clients while the chain is pulled."""
import os
import signal
import subprocess
import time

import facts
import harness
import images
import processes
from harness import FAILED, MIB, Skip, bp, case, check, need, refused, same
from images import compare_flat, image_check, image_info, overlay, patch, qemu_img, qemu_io, raw_image
from test_control import Client, state

harness.cases.clear()  # test_control's own


def nbdkit(command, *parameters, rc=0):
    result = harness.run('nbdkit', '-U', f'{harness.temp_dir()}/s', facts.nbdkit_plugin(), *parameters, '--run', command, timeout=200)
    check((result.rc == 0) == (rc == 0), str(result))
    return result


def disk(d, size=64 * MIB, fmt='qcow2', options=None):
    base = raw_image(f'{d}/base.img', size, (0, size // 2), (size * 3 // 4, MIB))
    top = overlay(f'{d}/top.img', 'base.img', fmt, options)
    qemu_io(top, fmt, 'write -P 7 10M 3M')
    return top, images.flatten(top, fmt, f'{d}/flat')


@case('libnbd reads the whole disk while it is pulled')
def nbdcopy(d):
    need('nbdcopy', 'nbdinfo')
    top, flat = disk(d)
    nbdkit(f'nbdinfo --can multi-conn $uri && nbdinfo --can fua $uri && nbdinfo --can trim $uri && nbdinfo --can zero $uri'
           f' && nbdcopy $uri {d}/out', f'image={top}', 'pull=true')
    same(images.digest(f'{d}/out'), images.digest(flat), 'what nbdcopy read')
    same(image_check(top, 'qcow2'), 0, 'check')
    compare_flat(top, 'qcow2', flat)


@case('extents say where data, zeros and holes are')
def extents(d):
    need('nbdinfo')
    top, _ = disk(d)
    out = nbdkit('nbdinfo --map $uri', f'image={top}').out
    kinds = {(int(f[0]), int(f[2])) for f in (line.split() for line in out.splitlines())}
    check((0, 0) in kinds, out)
    check(any(start == 32 * MIB and kind == 3 for start, kind in kinds), f'no hole at 32 MiB:\n{out}')


@case('trim is not offered where the format has no word for it', 'qcow2', 'compat=0.10')
@case('trim is not offered of QED', 'qed', None)
def no_trim(d, fmt, options):
    need('nbdinfo')
    top, _ = disk(d, 16 * MIB, fmt, options)
    nbdkit('if nbdinfo --can trim $uri; then exit 1; fi; nbdinfo --can zero $uri', f'image={top}')


@case('qemu-io writes, zeroes, trims, flushes; qemu-img judges')
def patterns(d):
    top, flat = disk(d)
    steps = ['write -P 5 1000 70001', 'write -z 3M 1M', 'write -z -u 5M 1234567', 'discard 20M 1M', 'write -P 9 60M 100k',
             'write -f -P 8 33M 64k', 'flush']
    reads = ['read -P 5 1000 70001', 'read -P 0 3M 1M', 'read -P 0 5M 1234567', 'read -P 9 60M 100k', 'read -P 8 33M 64k',
             'read -P 0 20M 1M']
    words = ' '.join(f'-c "{step}"' for step in steps + reads)
    out = nbdkit(f'qemu-io -f raw {words} $uri', f'image={top}', 'pull=true', 'bandwidth=40M', 'copy-on-read=true').out
    check('failed' not in out, out)
    flat_words = [w for w in steps if w != 'flush' and not w.startswith('discard')] + ['write -z 20M 1M']
    qemu_io(flat, 'raw', *flat_words)
    compare_flat(top, 'qcow2', flat)
    same(image_check(top, 'qcow2'), 0, 'check')


@case('fio verifies what it wrote while the chain is pulled')
def fio(d):
    need('fio')
    if 'nbd' not in harness.run('fio', '--enghelp').out:
        raise Skip('fio without nbd')
    top, _ = disk(d)
    out = nbdkit(f'cd {d} && fio --name=v --ioengine=nbd --uri=$uri --rw=randrw --bsrange=512-64k --size=48M --iodepth=16'
                 ' --verify=crc32c --verify_fatal=1 --randseed=7', f'image={top}', 'pull=true', 'bandwidth=20M').out
    check('err= 0' in out, out)
    same(image_check(top, 'qcow2'), 0, 'check')


def served(d, top, *parameters):
    """The plugin, pulling, and its NBD address. The caller ends it."""
    return listening(d, top, 'pull=true', *parameters)


def listening(d, top, *parameters):
    """The plugin, without a pull unless one is asked for, and its NBD address. The caller ends it."""
    process = harness.start('nbdkit', '-f', '-U', f'{d}/nbd', facts.nbdkit_plugin(), f'image={top}', f'control={d}/ctl', *parameters)
    processes.wait_listening(process, f'{d}/ctl', f'{d}/nbd')
    return process, f'nbd+unix:///?socket={d}/nbd'


@case('the pull goes on when clients leave, is steered by its socket, and the end is clean')
def life(d):
    top, flat = disk(d)
    process, uri = served(d, top, 'bandwidth=1M')
    qemu_io(uri, 'raw', 'write -P 3 100 5000')
    check('running' in bp('ctl', f'{d}/ctl', 'info').out, 'no pull is running')
    bp('ctl', f'{d}/ctl', 'speed', '0')
    bp('ctl', f'{d}/ctl', 'wait')
    same(harness.run('qemu-io', '-f', 'raw', '-c', 'read -P 3 100 5000', uri).rc, 0, 'read afterwards')
    check('backing-filename' not in image_info(top, '-U'), 'the link is there')
    os.kill(process.pid, signal.SIGTERM)
    check(harness.finish(process).rc in (0, 128 + signal.SIGTERM), 'exit code')
    check(not os.path.exists(f'{d}/ctl'), 'the socket was left behind')
    qemu_io(flat, 'raw', 'write -P 3 100 5000')
    compare_flat(top, 'qcow2', flat)
    same(image_check(top, 'qcow2'), 0, 'check')


@case('after the pull the base is its owner\'s, while the disk is served', 'qcow2')
@case('after the pull the base is its owner\'s: QED', 'qed')
def after_the_end(d, fmt):
    top, flat = disk(d, fmt=fmt)
    process, uri = served(d, top)
    bp('ctl', f'{d}/ctl', 'wait')
    fds = processes.open_names(process.pid)
    check(not any('base.img' in name for name in fds), f'the base is open still: {fds}')
    qemu_io(f'{d}/base.img', 'raw', 'write -P 0xee 0 64M')
    for disk_at in '400k', '1400k', '33M', '60M':
        qemu_io(uri, 'raw', f'write -P 0x5a {disk_at} 512')
        qemu_io(flat, 'raw', f'write -P 0x5a {disk_at} 512')
    os.remove(f'{d}/base.img')
    os.kill(process.pid, signal.SIGTERM)
    check(harness.finish(process).rc in (0, 128 + signal.SIGTERM), 'exit code')
    compare_flat(top, fmt, flat)
    same(image_check(top, fmt), 0, 'check')


@case('an end in the middle of a pull keeps what was written')
def ended(d):
    top, flat = disk(d)
    nbdkit('qemu-io -f raw -c "write -P 4 5000 100000" $uri', f'image={top}', 'pull=true', 'bandwidth=1M')
    same(image_info(top)['backing-filename'], 'base.img', 'the link')
    qemu_io(flat, 'raw', 'write -P 4 5000 100000')
    compare_flat(top, 'qcow2', flat)
    same(image_check(top, 'qcow2'), 0, 'check')


@case('a write does not wait for the bandwidth of the pull', None)
@case('a write does not wait for a cluster that is copied in pieces', 'cluster_size=2M')
def not_throttled(d, options):
    """The pull waits ten minutes for its second 64 KiB, and hours for the second half of its first 2 MiB
    cluster; the first write is to these, when it has begun."""
    top, flat = disk(d, options=options)
    words = [f'write -P {1 + at} {at}M 100000' for at in range(16)]
    began = time.monotonic()
    nbdkit('sleep 1; qemu-io -f raw ' + ' '.join(f'-c "{word}"' for word in words) + ' $uri', f'image={top}', 'pull=true',
           'bandwidth=100')
    check(time.monotonic() - began < 300, f'{time.monotonic() - began:.1f} s')
    qemu_io(flat, 'raw', *words)
    compare_flat(top, 'qcow2', flat)
    same(image_check(top, 'qcow2'), 0, 'check')


@case('a job that QMP starts verifies as the plugin was told', 'verify=true', True)
@case('a job that QMP starts does not verify where the plugin was not told to', 'verify=false', False)
def streamed(d, parameter, verifies):
    top, flat = disk(d, 16 * MIB)
    process, _ = listening(d, top, parameter)
    client = Client(f'{d}/ctl')
    client.ask('block-stream', device=top, auto_finalize=False)
    job = state(client, 'pending')
    check(job['x-copied'] >= 8 * MIB, str(job))
    same(job['x-verified'] >= job['x-copied'], verifies, f'verified: {job}')
    check(verifies or not job['x-verified'], str(job))
    client.ask('job-finalize', id=top)
    ended = client.event('BLOCK_JOB_COMPLETED')
    check('error' not in ended['data'], str(ended))
    os.kill(process.pid, signal.SIGTERM)
    harness.finish(process)
    images.judge_pulled(top, 'qcow2', flat)


@case('a job that QMP starts finds a byte that rots', 'manual-finalize=false')
@case('a job that QMP starts finds a byte that rots, manual-finalize taken back', 'manual-finalize=true')
def streamed_rot(d, parameter):
    top, _ = disk(d, 16 * MIB)
    with open(f'{d}/base.img', 'rb') as file:
        content = file.read(4096)
    process, _ = listening(d, top, 'verify=true', parameter)
    client = Client(f'{d}/ctl')
    client.ask('block-stream', device=top, speed=MIB, auto_finalize=True)
    deadline = time.monotonic() + harness.WAIT
    while client.job()['x-copied'] < MIB:
        check(time.monotonic() < deadline, f'nothing is copied: {client.job()}')
        time.sleep(0.02)
    with open(top, 'rb') as file:
        at = file.read().find(content)
    check(at > 0, 'what is copied is not there')
    patch(top, at + 100, b'rot')
    client.ask('block-job-set-speed', device=top, speed=0)
    ended = client.event('BLOCK_JOB_COMPLETED')
    check('guest offset 0 ' in ended['data'].get('error', ''), f'it was not found: {ended}')
    os.kill(process.pid, signal.SIGTERM)
    harness.finish(process)
    same(image_info(top)['backing-filename'], 'base.img', 'the link')
    same(image_check(top, 'qcow2'), 0, 'check')


def say(client, word, answer):
    """To a qemu-io that is connected: what it says to one command."""
    client.stdin.write(f'{word}\n'.encode())
    client.stdin.flush()
    line = client.stdout.readline().decode().replace('qemu-io> ', '').strip()
    check(answer in line, f'{word}: {line}')


@case('a longer disk is seen by clients that connect from then on; others keep what they were told')
def longer(d):
    top, flat = disk(d, 16 * MIB)
    process, uri = listening(d, top)
    old = harness.start('qemu-io', '-f', 'raw', uri, stdin=subprocess.PIPE)
    say(old, 'length', '16 MiB')
    bp('ctl', f'{d}/ctl', 'resize', '+4M')
    say(old, 'length', '16 MiB')
    say(old, 'write -P 6 15M 64k', 'wrote')
    same(harness.run('nbdinfo', '--size', uri).out.strip(), str(20 * MIB), 'what a new client is told')
    qemu_io(uri, 'raw', 'read -P 0 16M 4M', 'write -P 5 18M 64k', 'read -P 6 15M 64k')
    refused(FAILED, ['shorter'], 'ctl', f'{d}/ctl', 'resize', '1M')
    client = Client(f'{d}/ctl')
    same(client.ask('query-named-block-nodes')[0]['image']['virtual-size'], 20 * MIB, 'query-named-block-nodes')
    old.stdin.close()
    harness.finish(old)
    os.kill(process.pid, signal.SIGTERM)
    harness.finish(process)
    qemu_img('resize', '-q', '-f', 'raw', flat, '20M')
    qemu_io(flat, 'raw', 'write -P 6 15M 64k', 'write -P 5 18M 64k')
    compare_flat(top, 'qcow2', flat)
    same(image_check(top, 'qcow2'), 0, 'check')


@case('a disk that is only read is not made longer')
def not_longer(d):
    top, _ = disk(d, 16 * MIB)
    before = images.digest(top)
    process, _ = listening(d, top, 'readonly=true')
    said = refused(FAILED, ['read-only'], 'ctl', f'{d}/ctl', 'resize', '+4M')
    os.kill(process.pid, signal.SIGTERM)
    harness.finish(process)
    same(images.digest(top), before, f'the image: {said}')


@case('what is wrong is said at the start', 'image=', 'none.img', 'none.img')
@case('an unknown parameter', 'imgae=', 'top.img', 'imgae')
@case('a bandwidth that is none', 'bandwidth=', 'fast', 'fast')
def wrong(d, key, value, word):
    top, _ = disk(d, 16 * MIB)
    parameters = [key + (f'{d}/{value}' if 'img' in value else value)]
    if key != 'image=':
        parameters.append(f'image={top}')
    result = nbdkit('true', *parameters, rc=1)
    check(word in result.err, str(result))


@case("'any' and 'none' stand alone")
def allow_backing(d):
    top, _ = disk(d, 16 * MIB)
    for values in ('any', d), (d, 'none'), ('none', 'any'):
        result = nbdkit('true', *[f'allow-backing={value}' for value in values], f'image={top}', rc=1)
        check("can't be combined" in result.err, str(result))
    nbdkit('true', 'allow-backing=none', f'image={top}', rc=1)
    for values in ('any',), (d, f'{d}/base.img'):
        nbdkit('true', *[f'allow-backing={value}' for value in values], f'image={top}')


@case('a raw disk, named so')
def raw(d):
    top = raw_image(f'{d}/top.img', 16 * MIB)
    nbdkit('qemu-io -f raw -c "write -P 1 5 70000" -c "read -P 1 5 70000" $uri', f'image={top}', 'format=raw')
    check('format=raw' in nbdkit('true', f'image={top}', rc=1).err, 'a raw disk was guessed')
    qemu_img('compare', '-f', 'raw', '-F', 'raw', top, top)


if __name__ == '__main__':
    harness.main(workers=2)
