# SPDX-License-Identifier: MIT OR Apache-2.0
"""A private authority, directories of its certificates, and nbdkit on a port."""
import os
import time

import harness
from harness import check, need, same


NAMES = {
    'ca': 'cn = "Test authority"\nca\ncert_signing_key\nexpiration_days = 100\n',
    'server': 'cn = "localhost"\ndns_name = "localhost"\nip_address = "127.0.0.1"\ntls_www_server\nsigning_key\n'
              'encryption_key\nexpiration_days = 100\n',
    'other': 'cn = "elsewhere.example"\ndns_name = "elsewhere.example"\ntls_www_server\nsigning_key\nencryption_key\n'
             'expiration_days = 100\n',
    'client': 'cn = "client"\ntls_www_client\nsigning_key\nencryption_key\nexpiration_days = 100\n',
}


def run(*argv):
    result = harness.run(*argv)
    same(result.rc, 0, f'{result}')


def authority(d, *leaves):
    """A directory with ca-cert.pem and, for each leaf, LEAF-cert.pem and LEAF-key.pem."""
    need('certtool', 'nbdkit')
    os.makedirs(d, exist_ok=True)
    for name in ('ca', *leaves):
        with open(f'{d}/{name}.info', 'w', encoding='ascii') as info:
            info.write(NAMES[name])
        run('certtool', '--generate-privkey', '--key-type=ecdsa', '--outfile', f'{d}/{name}-key.pem')
        how = ['--generate-self-signed'] if name == 'ca' else [
            '--generate-certificate', '--load-ca-certificate', f'{d}/ca-cert.pem', '--load-ca-privkey', f'{d}/ca-key.pem']
        run('certtool', *how, '--load-privkey', f'{d}/{name}-key.pem', '--template', f'{d}/{name}.info',
            '--outfile', f'{d}/{name}-cert.pem')
    return d


def shows(d, to, leaf):
    """A directory as nbdkit wants it, where it shows this leaf's certificate."""
    os.makedirs(to)
    for name, source in ('ca-cert', 'ca-cert'), ('server-cert', f'{leaf}-cert'), ('server-key', f'{leaf}-key'):
        os.symlink(f'{d}/{source}.pem', f'{to}/{name}.pem')
    return to


def knows(d, to, *names):
    os.makedirs(to)
    for name in names:
        os.symlink(f'{d}/{name}.pem', f'{to}/{name}.pem')
    return to


def over_tcp(*words):
    """nbdkit on a port of its own choice of ours: (process, port)."""
    import socket  # pylint: disable=import-outside-toplevel
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    process = harness.start('nbdkit', '-f', '-i', '127.0.0.1', '-p', port, *words)
    deadline = time.monotonic() + harness.WAIT
    while True:
        with socket.socket() as trial:
            if trial.connect_ex(('127.0.0.1', port)) == 0:
                return process, port
        check(process.poll() is None and time.monotonic() < deadline, 'nbdkit does not listen')
        time.sleep(0.02)
