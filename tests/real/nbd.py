# SPDX-License-Identifier: MIT OR Apache-2.0
"""NBD itself: TLS with an authority of our own and with shared keys, and QEMU's server, also killed and replaced."""
import json
import os
import queue
import re
import subprocess
import threading

from rig import KIB, MIB, WAIT, Failed, check, end, free_port, kill, need, same

TEMPLATES = {
    'ca': 'cn = "Authority of a test"\nca\ncert_signing_key\nexpiration_days = 2\n',
    'server': 'cn = "localhost"\ndns_name = "localhost"\nip_address = "127.0.0.1"\ntls_www_server\nsigning_key\nencryption_key\n'
              'expiration_days = 2\n',
}


def authority(rig, name):
    """A directory with an authority, ca-cert.pem, and a server's certificate and key by it, named as nbdkit wants them."""
    d = rig.d / name
    d.mkdir()
    for leaf, template in TEMPLATES.items():
        (d / f'{leaf}.info').write_text(template)
        rig.run('certtool', '--generate-privkey', '--key-type=ecdsa', '--outfile', d / f'{leaf}-key.pem')
        how = ['--generate-self-signed'] if leaf == 'ca' else [
            '--generate-certificate', '--load-ca-certificate', d / 'ca-cert.pem', '--load-ca-privkey', d / 'ca-key.pem']
        rig.run('certtool', *how, '--load-privkey', d / f'{leaf}-key.pem', '--template', d / f'{leaf}.info', '--outfile',
                d / f'{leaf}-cert.pem')
    return d


def client_of(directory, to):
    """What a client of that authority has: its certificate, and no key."""
    to.mkdir()
    os.symlink(directory / 'ca-cert.pem', to / 'ca-cert.pem')
    return to


def refused(rig, top, *words):
    before = top.read_bytes()
    said = rig.ours_run('pull', '-q', *words, top, rc=None)
    check(said.returncode not in (0, 130) and said.returncode > 0, f'{words}: {said}')
    same(top.read_bytes(), before, 'the image after a refusal')
    return said.stderr


def certificates(rig):
    ours, strange = authority(rig, 'ours'), authority(rig, 'strange')
    port = free_port()
    rig.start('nbdkit', '-f', '-r', '-i', '127.0.0.1', '-p', port, '--tls=require', f'--tls-certificates={ours}', 'file',
              rig.d / 'base.qcow2', at=port)
    top, twin = rig.overlay(f'nbds://localhost:{port}/', rig.d / 'base.qcow2', 'qcow2', top='certificates')
    allow = f'--allow-remote=nbds:localhost:{port}'
    said = refused(rig, top, allow, f'--tls-certificates={client_of(strange, rig.d / "of-strange")}')
    check('certificate is refused' in said, f'another authority: {said}')
    said = refused(rig, top, allow)  # by the system's authorities
    check('certificate is refused' in said, f'no authority: {said}')
    said = refused(rig, top, f'--allow-remote=nbd+unix:{rig.d}')
    check('--allow-remote=nbds:localhost' in said, f'what allows it: {said}')
    mapping = f'--map-backing=nbds://localhost:{port}/=nbd://localhost:{port}/'
    refused(rig, top, mapping, '--open-timeout=5')  # without TLS
    rig.ours_run('pull', '-q', allow, f'--tls-certificates={client_of(ours, rig.d / "of-ours")}', top)
    rig.judge(top, twin)


def shared_keys(rig):
    for user in 'alice', 'bob':
        rig.run('psktool', '-u', user, '-p', rig.d / f'{user}.psk')
    port = free_port()
    rig.start('nbdkit', '-f', '-r', '-i', '127.0.0.1', '-p', port, '--tls=require', f'--tls-psk={rig.d}/alice.psk', 'file',
              rig.d / 'base.raw', at=port)
    top, twin = rig.overlay(f'nbds://127.0.0.1:{port}/', rig.d / 'base.raw', 'raw', top='keys')
    allow = f'--allow-remote=nbds:127.0.0.0/8:{port}'
    refused(rig, top, allow, '--open-timeout=5', f'--tls-psk-file={rig.d}/bob.psk', '--tls-user=bob')
    rig.ours_run('pull', '-q', allow, f'--tls-psk-file={rig.d}/alice.psk', '--tls-user=alice', top)
    rig.judge(top, twin)


def tls(rig):
    need('nbdkit', 'certtool', 'psktool')
    rig.base()
    certificates(rig)
    shared_keys(rig)
    return 'certificates and shared keys; another authority, none, no TLS and another key are refused'


def qemu_server(rig, fmt, sock='q'):
    path = f'{rig.d}/{sock}'
    return rig.start('qemu-nbd', '-r', '-t', '-f', 'raw', '--shared=8', '-k', path, rig.d / f'base.{fmt}', at=path)


class Pull:
    """A pull that tells how far it is, as JSON lines."""

    def __init__(self, rig, *words):
        self.process = subprocess.Popen([rig.blockpull, 'pull', '--progress=json', *map(str, words)], env=rig.env, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        rig.started.append(self.process)
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def until(self, what, condition):
        """The first line, as an object, for which it holds."""
        while True:
            try:
                line = self.lines.get(timeout=WAIT)
            except queue.Empty:
                raise Failed(f'{what}: no line came; the last were {self.seen[-5:]}') from None
            check(line is not None, f'{what}: the pull has ended: {self.seen[-5:]}')
            self.seen.append(line.rstrip())
            if line.startswith('{') and condition(found := json.loads(line)):
                return found

    def completed(self):
        while (line := self.lines.get(timeout=WAIT)) is not None:
            self.seen.append(line.rstrip())
        same(self.process.wait(WAIT), 0, f'the pull, {self.seen[-5:]}')


def block_status(rig):
    """Of a base with holes, QEMU's server is asked for the data that the overlay lacks, and for nothing else. It answers
    what its block status calls holes without reading them, so a filter of nbdkit between tells what is asked. (those
    bytes, the base's size)."""
    base = os.stat(rig.d / 'base.raw')
    data = base.st_blocks * 512
    check(data < base.st_size / 2, f'the base has too few holes: {data} bytes of data of {base.st_size}')
    server = qemu_server(rig, 'raw')
    log, uri = rig.nbdkit('--filter=log', 'nbd', f'socket={rig.d}/q', 'shared=true', f'logfile={rig.d}/asked', sock='counted')
    for name in f'nbd:unix:{rig.d}/q', uri:
        top, twin = rig.overlay(name, rig.d / 'base.raw', 'raw', top='holes')
        rows = json.loads(rig.run('qemu-img', 'map', '--output=json', '-f', 'qcow2', twin).stdout)
        rig.ours_run('pull', '-q', f'--allow-remote=nbd+unix:{rig.d}', top)
        rig.judge(top, twin)
    end(log)
    end(server)
    read = asked_for(rig.d / 'asked', base.st_size)
    same(read, sum(row['length'] for row in rows if row['depth'] == 1 and row['data']), 'bytes that were asked for')
    return read, base.st_size


def asked_for(log, size):
    """Bytes, less the fingerprint with which each connection begins: the base's first MiB and last 64 KiB. The load says
    how many connections there are, and one that comes late may not get further than that."""
    reads = {}
    pattern = r'connection=(\d+) Read id=\d+ offset=0x([0-9a-f]+) count=0x([0-9a-f]+)'
    for connection, offset, length in re.findall(pattern, log.read_text()):
        reads.setdefault(connection, []).append((int(offset, 16), int(length, 16)))
    check(reads, f'no reads: {log.read_text()}')
    for connection, rows in reads.items():
        same(rows[:2], [(0, MIB), (size - 64 * KIB, 64 * KIB)][:len(rows)], f'how connection {connection} begins')
    return sum(length for rows in reads.values() for _, length in rows[2:])


def replaced(rig, fmt):
    """The server is killed in the middle; another one of the same file takes its place. The pull is slow until then, so
    that a busy machine comes in time to kill it."""
    server = qemu_server(rig, fmt, sock=fmt)
    top, twin = rig.overlay(f'nbd+unix:///?socket={rig.d}/{fmt}', rig.d / f'base.{fmt}', fmt, top=f'killed-{fmt}')
    control = rig.d / f'{fmt}.ctl'
    pull = Pull(rig, f'--allow-remote=nbd+unix:{rig.d}/{fmt}', '--bandwidth=512K', f'--burst={64 * KIB}', f'--control={control}', top)
    pull.until('the middle', lambda line: line.get('network', {}).get('bytes-read', 0) > MIB)
    kill(server)
    pull.until('the loss', lambda line: line.get('event') == 'server' and line['state'] != 'connected')
    os.unlink(rig.d / fmt)
    server = qemu_server(rig, fmt, sock=fmt)
    pull.until('the return', lambda line: line.get('event') == 'server' and line['state'] == 'connected')
    rig.ours_run('ctl', control, 'speed', '1G')
    pull.completed()
    rig.judge(top, twin)
    end(server)


def qemu_nbd(rig):
    need('qemu-nbd')
    rig.base()
    read, size = block_status(rig)
    for fmt in 'raw', 'qcow2':
        replaced(rig, fmt)
    return f'{read / MIB:.1f} MiB read of {size / MIB:.0f}, which has holes; killed and replaced under raw and qcow2'
