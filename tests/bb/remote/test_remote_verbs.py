# SPDX-License-Identifier: MIT OR Apache-2.0
"""The command and bases behind a network: every verb, names, what is allowed, the sandbox. qemu-img judges."""
import functools
import http.server
import os
import re
import ssl
import threading

import facts
import harness
import processes
import strace
from harness import MIB, REFUSED, USAGE, Skip, bp, case, check, field, need, refused, same
from images import qemu_io
from remote_images import base, judge, overlay
from source_rig import end, nbdkit
from tls_rig import authority, knows, over_tcp, shows

FAILED = harness.FAILED


def allow(d):
    return f'--allow-remote=nbd+unix:{d}'


def uri(d, name='s'):
    return f'nbd+unix:///?socket={d}/{name}'


def qemu_nbd(sock, path):
    """The bytes of the file, whatever they are."""
    need('qemu-nbd')
    process = harness.start('qemu-nbd', '-r', '-f', 'raw', '--persistent', '--shared=8', '-k', sock, path)
    processes.wait_listening(process, sock)
    return process


def served(d, fmt, name='s', size=64 * MIB):
    """A base and its server: (the process, a raw copy of the base's disk)."""
    path, flat = base(d, fmt, size)
    return nbdkit(f'{d}/{name}', '-r', 'file', path), flat


@case('pull: nbdkit, raw', nbdkit, 'raw')
@case('pull: nbdkit, qcow2', nbdkit, 'qcow2')
@case('pull: qemu-nbd, raw', qemu_nbd, 'raw')
@case('pull: qemu-nbd, qcow2', qemu_nbd, 'qcow2')
def pulled(d, serve, fmt):
    path, flat = base(d, fmt)
    words = (path,) if serve is qemu_nbd else ('-r', 'file', path)
    server = serve(f'{d}/s', *words)
    top = overlay(d, uri(d), fmt)
    bp('pull', '--dry-run', allow(d), top)
    same(harness.run('qemu-img', 'info', '-U', '--output=json', top).json()['backing-filename'], uri(d), 'the link')
    lines = bp('pull', '--progress=json', '--verify', allow(d), top).lines()
    network = [line['network'] for line in lines if line['event'] == 'progress']
    check(network and all(one['state'] == 'connected' for one in network), f'{network}')
    check(network[-1]['bytes-read'] > 0 or len(network) == 1, f'{network}')
    total = [line['network'] for line in lines if line['event'] == 'result'][0]['bytes-read']
    check(total >= network[-1]['bytes-read'] and total >= os.stat(path).st_blocks * 512 // 2, f'{total} bytes, {network}')
    judge(top, flat)
    end(server)


@case('colons, json: and a name of the host')
def forms(d):
    server, flat = served(d, 'qcow2')
    inet, port = over_tcp('-r', 'file', f'{d}/base.qcow2')
    json_of = '{"driver":"qcow2","file":{"driver":"nbd","server":{"type":"unix","path":"%s/s"}}}' % d
    for i, name in enumerate((f'nbd:unix:{d}/s', f'json:{json_of}', f'nbd:localhost:{port}', f'nbd://127.0.0.1:{port}/')):
        top = overlay(d, name, 'qcow2', name=f'{i}.qcow2')
        bp('pull', allow(d), f'--allow-remote=nbd:localhost:{port}', '--allow-remote=nbd:127.0.0.0/8', top)
        judge(top, flat)
    end(server)
    end(inet)


@case('a chain of three: local, qcow2 on a server, raw on another')
def mixed_chain(d):
    server, flat = served(d, 'raw')
    middle = overlay(d, uri(d), 'raw', name='middle.qcow2')
    qemu_io(middle, 'qcow2', 'write -P 7 1M 300k')
    with open(flat, 'rb') as file:
        content = bytearray(file.read())
    content[MIB:MIB + 300 * 1024] = b'\7' * (300 * 1024)
    with open(f'{d}/judge.raw', 'wb') as file:
        file.write(content)
    second = nbdkit(f'{d}/s2', '-r', 'file', middle)
    top = overlay(d, uri(d, 's2'), 'qcow2')
    names = [layer['filename'] for layer in bp('info', '--chain', '--json', allow(d), top).json()]
    same(names, [top, uri(d, 's2'), uri(d)], 'the chain')
    bp('pull', allow(d), top)
    judge(top, f'{d}/judge.raw')
    end(server)
    end(second)


@case('a name of a server is the image: info, map, hash, verify, measure, flatten')
def image_itself(d):
    server, flat = served(d, 'qcow2', size=8 * MIB)
    name = uri(d)
    info = bp('info', '--json', '-f', 'qcow2', allow(d), name).json()
    same((info['filename'], info['format'], info['virtual-size']), (name, 'qcow2', 8 * MIB), 'info')
    same(bp('map', '--json', '-f', 'qcow2', allow(d), name).json(), bp('map', '--json', f'{d}/base.qcow2').json(), 'map')
    wanted = bp('hash', '-f', 'raw', flat).out.split()[0]
    same(bp('hash', '-f', 'qcow2', allow(d), name).out.split()[0], wanted, 'hash')
    bp('verify', '-f', 'qcow2', '-F', 'raw', allow(d), name, flat)
    same(field(bp('measure', '--json', '-f', 'qcow2', allow(d), name).json(), 'virtual-size'), 8 * MIB, 'measure')
    bp('flatten', '-f', 'raw', '--source-format=qcow2', allow(d), name, f'{d}/out.raw')
    same(harness.run('cmp', f'{d}/out.raw', flat).rc, 0, 'flatten')
    refused(REFUSED, ['format'], 'info', allow(d), name)
    end(server)


@case('a name of a server that is typed: what allows it, and that an image to be written to is a file')
def typed(d):
    for verb in 'info', 'map', 'hash', 'measure':
        result = refused(REFUSED, ['is a server\'s', f'--allow-remote=nbd+unix:{d}/s'], verb, uri(d))
        check('image' not in result.err, f'{result}')
    refused(REFUSED, ['--allow-remote=nbd:host.example:1234'], 'info', 'nbd://host.example:1234/')
    refused(FAILED, ['foo://h/', 'only those of NBD are read'], 'info', 'foo://h/')
    for verb, more in ('pull', []), ('check', []), ('resize', ['1G']):
        refused(FAILED, [uri(d), 'no file of this machine'], verb, uri(d), *more)


@case('verbs that read an overlay whose base is a server\'s')
def readers(d):
    server, flat = served(d, 'raw', size=8 * MIB)
    top = overlay(d, uri(d), 'raw', size=8 * MIB)
    bp('verify', '-f', 'qcow2', '-F', 'raw', allow(d), top, flat)
    bp('flatten', '-f', 'raw', allow(d), top, f'{d}/out.raw')
    same(harness.run('cmp', f'{d}/out.raw', flat).rc, 0, 'flatten')
    check(field(bp('measure', '--json', allow(d), top).json(), 'copy-bytes') > 0, 'nothing to copy')
    bp('resize', allow(d), top, '+1M')
    same(bp('info', '--json', allow(d), top).json()['virtual-size'], 9 * MIB, 'resize')
    end(server)


@case('create: the size is the server\'s, and QEMU\'s limit is told')
def created(d):
    server, _ = served(d, 'raw', size=8 * MIB)
    top = f'{d}/new.qcow2'
    result = bp('create', '-f', 'qcow2', '-b', uri(d), '-F', 'raw', allow(d), top)
    check('warning' not in result.err, f'{result}')
    info = harness.run('qemu-img', 'info', '-U', '--output=json', top).json()
    same((info['backing-filename'], info['virtual-size']), (uri(d), 8 * MIB), 'the image')
    secret = 'nbds://golden.example/x'
    result = bp('create', '-f', 'qcow2', '-b', secret, '-F', 'raw', '--map-backing', f'{secret}={uri(d)}', f'{d}/tls.qcow2')
    check('QEMU' in result.err, f'{result}')
    refused(REFUSED, ['--allow-remote=nbd+unix:'], 'create', '-f', 'qcow2', '-b', uri(d), '-F', 'raw', f'{d}/no.qcow2')
    check(not os.path.exists(f'{d}/no.qcow2'), 'it was made')
    refused(USAGE, ['no meaning'], 'create', '-f', 'qcow2', allow(d), f'{d}/no.qcow2', '1M')
    end(server)


@case('a refusal names the option that lets it pass')
def remedy(d):
    server, flat = served(d, 'raw')
    inet, port = over_tcp('-r', 'file', flat)
    for i, name in enumerate((uri(d), f'nbd://localhost:{port}/', f'nbd:127.0.0.1:{port}')):
        top = overlay(d, name, 'raw', name=f'{i}.qcow2')
        before = open(top, 'rb').read()
        for verb in ('info', '--chain'), ('map',), ('hash',), ('measure',), ('pull',), ('pull', '-n'):
            result = refused(REFUSED, ['--allow-remote='], *verb, top)
        same(open(top, 'rb').read(), before, 'the image')
        option = re.search(r"(--allow-remote=\S+)", result.err)[1]
        bp('pull', option, top)
        judge(top, flat)
    end(server)
    end(inet)


@case('what is not allowed: other hosts, ports, networks, sockets')
def not_allowed(d):
    server, flat = served(d, 'raw', size=8 * MIB)
    inet, port = over_tcp('-r', 'file', flat)
    os.mkdir(f'{d}/other')
    top, local = overlay(d, f'nbd://127.0.0.1:{port}/', 'raw'), overlay(d, uri(d), 'raw', name='local.qcow2')
    for pattern in f'nbd:127.0.0.1:{port ^ 1}', 'nbd:example.com', 'nbd:10.0.0.0/8', f'nbds:127.0.0.1:{port}', f'nbd+unix:{d}':
        refused(REFUSED, ['--allow-remote='], 'pull', f'--allow-remote={pattern}', top)
    for pattern in f'nbd+unix:{d}/other', f'nbd+unix:{d}/s2', f'nbds+unix:{d}', 'nbd:127.0.0.1':
        refused(REFUSED, ['--allow-remote='], 'pull', f'--allow-remote={pattern}', local)
    end(server)
    end(inet)


HOSTILE = [
    'http://127.0.0.1/x', 'https://h/x', 'ftp://h/x', 'ssh://root@h/etc/shadow', 'rbd:pool/x', 'iscsi://h/x/0', 'gluster://h/x',
    'nbd://user@localhost/x', 'nbd://localhost:0/x', 'nbd://localhost:99999/x', 'nbd+ssh://localhost/x', 'nbd+vsock://1/x',
    'nbd://localhost/x?tls-certificates=/etc', 'nbd://localhost/x?tls-psk-file=/etc/shadow', 'nbd+unix:///x', 'nbd:unix:',
    'nbd:exec:id', 'json:{', 'json:{"driver":"host_device","filename":"/dev/sda"}', 'json:{"driver":"null-co"}',
    'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"inet","host":"localhost","port":"1"},"tls-creds":"x"}}',
    'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"fd","str":"0"}}}',
    'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/shadow"}}', 'fat:rw:/etc', 'blkdebug::x', 'nbd:localhost',
]


@case('hostile names, everything being allowed: a sentence, and no connection')
def hostile(d):
    for name in HOSTILE:
        top = overlay(d, name, 'raw')
        words = ['--allow-remote=nbd:localhost', f'--allow-remote=nbd+unix:{d}']
        for verb in ('info', '--chain'), ('pull',):
            result, log = strace.run(harness.blockpull, *verb, *words, top, trace='connect')
            check(result.rc in (REFUSED, FAILED) and result.err.startswith('blockpull: '), f'{name}: {result}')
            check(len(result.err.strip().splitlines()) <= 2, f'{name}: {result}')
            check(not any('connect(' in line for line in log), f'{name}: {log}')


@case('options that make no sense, or have no effect, are refused')
def senseless(d):
    top = overlay(d, uri(d), 'raw')
    for words in (['--allow-remote=foo'], ['--allow-remote=nbd:'], ['--allow-remote='], ['--allow-remote=nbd:10.0.0.0/33'],
                  ['--map-backing=x'], ['--map-backing==y'], ['--map-backing=x='], ['--map-backing=x=1.raw', '--map-backing=x=2.raw'],
                  ['--open-timeout=5'], ['--remote-timeout=5'], [f'--tls-certificates={d}'], ['--tls-psk-file=x', '--tls-user=y'],
                  [allow(d), '--open-timeout=0'], [allow(d), '--remote-timeout=-1'], [allow(d), '--remote-timeout=5s'],
                  [allow(d), '--tls-user=x'], [allow(d), '--tls-psk-file=x'], [allow(d), '--guest-timeout=5'],
                  [allow(d), f'--tls-certificates={d}', '--tls-psk-file=x', '--tls-user=y'],
                  [allow(d), f'--fd-map={top}=0']):
        bp('pull', *words, top, rc=USAGE)
    for verb in 'info', 'map', 'measure':
        refused(USAGE, ['--remote-timeout'], verb, allow(d), '--remote-timeout=5', top)
    refused(FAILED, ['ca-cert.pem'], 'info', allow(d), f'--tls-certificates={d}', top)


@case('a mapped name: another server, a file, and one that no image has')
def mapped(d):
    server, flat = served(d, 'qcow2')
    name = 'rbd:golden/debian@1=2'
    quoted = name.replace('=', '==')
    for i, target in enumerate((uri(d), f'{d}/base.qcow2')):
        top = overlay(d, name, 'qcow2', name=f'{i}.qcow2')
        refused(REFUSED, ['--map-backing'], 'info', '--chain', top)
        words = '--map-backing', f'{quoted}={target}', top
        for more in [], ['--chain']:
            told = bp('info', *more, *words)
            check(f'backing file is mapped to: {target}\n' in told.out and not told.err, f'{target} is not named: {told}')
        layers = bp('info', '--chain', '--json', *words).json()
        same([layer.get('backing-mapped-to') for layer in layers], [target, None], 'as JSON')
        check('mapped' not in bp('info', '--map-backing', f'{quoted}0={target}', top).out, 'another name is mapped')
        result = bp('pull', '--map-backing', f'{quoted}={target}', '--map-backing', 'nothing=/none', top)
        check("'nothing'" in result.err and 'warning' in result.err, f'{result}')
        judge(top, flat)
    end(server)


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files, or a range of one."""
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass

    def _answer(self, with_body):
        with open(self.translate_path(self.path), 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            asked = re.match(r'bytes=(\d+)-(\d+)$', self.headers.get('Range', ''))
            first, last = (int(asked[1]), min(int(asked[2]), size - 1)) if asked else (0, size - 1)
            self.send_response(206 if asked else 200)
            self.send_header('Accept-Ranges', 'bytes')
            self.send_header('Content-Length', str(last - first + 1))
            if asked:
                self.send_header('Content-Range', f'bytes {first}-{last}/{size}')
            self.end_headers()
            file.seek(first)
            if with_body:
                self.wfile.write(file.read(last - first + 1))

    def do_GET(self):
        self._answer(True)

    def do_HEAD(self):
        self._answer(False)


@case('https: through nbdkit\'s curl plugin')
def https(d):
    need('nbdkit')
    if harness.run('nbdkit', '--dump-plugin', 'curl').rc:
        raise harness.Skip('nbdkit has no curl plugin')
    pki = authority(f'{d}/pki', 'server')
    _, flat = base(d, 'qcow2', 16 * MIB)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f'{pki}/server-cert.pem', f'{pki}/server-key.pem')
    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Ranges, directory=d))
    web.socket = context.wrap_socket(web.socket, server_side=True)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    name = f'https://localhost:{web.server_address[1]}/base.qcow2'
    top = overlay(d, name, 'qcow2', size=16 * MIB)
    refused(REFUSED, ['nbdkit', 'curl', '--map-backing'], 'pull', top)
    server = nbdkit(f'{d}/s', '-r', 'curl', f'url={name}', f'cainfo={pki}/ca-cert.pem')
    bp('pull', '--map-backing', f'{name}={uri(d)}', top)
    judge(top, flat)
    end(server)
    web.shutdown()


@case('TLS: certificates and shared keys, from inside the sandbox')
def tls(d):
    pki = authority(f'{d}/pki', 'server', 'client')
    os.rename(knows(pki, f'{d}/c', 'ca-cert', 'client-cert', 'client-key'), f'{d}/mine')
    _, flat = base(d, 'qcow2')
    server, port = over_tcp('--tls=require', '--tls-verify-peer', f'--tls-certificates={shows(pki, f"{d}/s", "server")}', '-r',
                            'file', f'{d}/base.qcow2')
    top = overlay(d, f'nbds://localhost:{port}/', 'qcow2')
    bp('pull', '--allow-remote=nbds:localhost', top, rc=FAILED)
    bp('pull', '--allow-remote=nbds:localhost', f'--tls-certificates={d}/mine', top)
    judge(top, flat)
    end(server)
    with open(f'{d}/keys', 'w', encoding='ascii') as file:
        file.write('alice:' + 'ab' * 32 + '\n')
    server, port = over_tcp('--tls=require', f'--tls-psk={d}/keys', '-r', 'file', f'{d}/base.qcow2')
    top = overlay(d, f'nbds://localhost:{port}/', 'qcow2', name='psk.qcow2')
    bp('pull', '--allow-remote=nbds:localhost', f'--tls-psk-file={d}/keys', '--tls-user=alice', top)
    judge(top, flat)
    end(server)


@case('nothing is opened behind the filter, and connections come in: pull, uring', 'pull', '--io=uring')
@case('nothing is opened behind the filter, and connections come in: pull, threads', 'pull', '--io=threads')
def connecting(d, *verb):
    """A slow server: more connections are made while the command reads."""
    if '--io=uring' in verb and not facts.has_uring():
        raise Skip('io_uring is forbidden here')
    path, _ = base(d, 'raw')
    server = nbdkit(f'{d}/s', '-r', '--filter=delay', 'file', path, 'rdelay=20ms')
    top = overlay(d, uri(d), 'raw')
    result, log = strace.run(harness.blockpull, *verb, allow(d), top)
    same(result.rc, 0, f'{result}')
    inside = strace.inside_filter(strace.own_threads(strace.whole_calls(log)), verb)
    check(any('recvmsg(' in line and 'SCM_RIGHTS' in line for line in inside), 'no connection came in')
    end(server)


@case('nothing is opened behind the filter: dry run', 'pull', '-n')
@case('nothing is opened behind the filter: hash', 'hash')
@case('nothing is opened behind the filter: map', 'map')
@case('nothing is opened behind the filter: measure', 'measure')
@case('nothing is opened behind the filter: info', 'info', '--chain')
def sandboxed(d, *verb):
    server, _ = served(d, 'qcow2', size=8 * MIB)
    top = overlay(d, uri(d), 'qcow2', size=8 * MIB)
    result, log = strace.run(harness.blockpull, *verb, allow(d), top)
    same(result.rc, 0, f'{result}')
    strace.inside_filter(strace.own_threads(strace.whole_calls(log)), verb)
    end(server)


@case('without a sandbox no other process connects')
def without(d):
    server, flat = served(d, 'raw')
    top = overlay(d, uri(d), 'raw')
    result, log = strace.run(harness.blockpull, 'pull', '--no-sandbox', allow(d), top, trace='prctl,connect')
    same(result.rc, 0, f'{result}')
    check(not any('"blockpull-nbd"' in line for line in log), 'a process was started')
    judge(top, flat)
    end(server)


if __name__ == '__main__':
    harness.main(workers=2)
