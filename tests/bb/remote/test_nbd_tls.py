# SPDX-License-Identifier: MIT OR Apache-2.0
"""TLS of sources: certificates of a private authority, keys that are shared, and all that is refused."""
import os
import socket
import time

import harness
from harness import MIB, case, check, need, same
from source_rig import Driver, end, nbdkit
from tls_rig import authority, knows, over_tcp, run, shows


@case('a certificate of the authority for the host that was named')
def certificates(d):
    pki = authority(f'{d}/pki', 'server')
    server, port = over_tcp('--tls=require', f'--tls-certificates={shows(pki, f"{d}/s", "server")}', 'pattern', '64M')
    for host in 'localhost', '127.0.0.1':
        source = Driver(allow='nbds:' + host, certificates=knows(pki, f'{d}/c-{host}', 'ca-cert'))
        source.open(f'nbds://{host}:{port}/')
        source.right(0, MIB)
        source.right(64 * MIB - 512, 512, 'guest')
        source.say(f'load l {64 * MIB} {32 * MIB} {256 * 1024}')
        same(source.wait('load').split()[2], '0', 'the load')
        same(source.extents(0, MIB), (0, [(MIB, 0)]), 'extents')
        deadline = time.monotonic() + harness.WAIT
        while source.left_to_child():  # the load may have wanted one more connection: its host is looked up
            check(time.monotonic() < deadline, 'each child of fork() has some of its descriptors')
        source.right(MIB, MIB)
        source.close(300)
    end(server)


@case('a child of fork() has nothing of a connection whose TLS the server leaves half done')
def forked(d):
    need('psktool', 'nbdkit')
    run('psktool', '-u', 'alice', '-p', f'{d}/alice.psk')
    server = nbdkit(f'{d}/s', '--tls=require', f'--tls-psk={d}/alice.psk', 'pattern', '8M')
    for broker in 0, 1:
        source = Driver(allow=f'nbd+unix:{d}', psk=f'{d}/alice.psk', user='alice', broker=broker)
        source.open(f'nbds+unix:///?socket={d}/s')
        end(server, f'{d}/s')
        source.wait('changed', 'reconnecting')
        with socket.socket(socket.AF_UNIX) as silent:
            silent.settimeout(harness.WAIT)
            silent.bind(f'{d}/s')
            silent.listen()
            with silent.accept()[0] as there:
                there.settimeout(harness.WAIT)
                there.sendall(b'NBDMAGICIHAVEOPT\0\3')
                check(there.recv(20)[4:12] == b'IHAVEOPT', 'no option is asked for')
                same(source.left_to_child(), 0, 'descriptors of a child of fork()')
                os.unlink(f'{d}/s')
        server = nbdkit(f'{d}/s', '--tls=require', f'--tls-psk={d}/alice.psk', 'pattern', '8M')
        source.wait('changed', 'connected')
        source.close()
    end(server)


@case('a certificate of another host, of another authority, and none')
def refused(d):
    pki, strange = authority(f'{d}/pki', 'server', 'other'), authority(f'{d}/strange', 'server')
    knows(pki, f'{d}/c', 'ca-cert')
    for shown, words in (shows(pki, f'{d}/s1', 'other'), 'certificate is refused'), (
            shows(strange, f'{d}/s2', 'server'), 'certificate is refused'):
        server, port = over_tcp('--tls=require', f'--tls-certificates={shown}', 'pattern', '8M')
        source = Driver(allow='nbds:localhost', certificates=f'{d}/c')
        check(words in source.open(f'nbds://localhost:{port}/', -13), 'no sentence')
        source.close()
        source = Driver(allow='nbds:localhost')  # the system's authorities
        check(words in source.open(f'nbds://localhost:{port}/', -13), 'no sentence')
        source.close()
        end(server)
    server, port = over_tcp('--tls=off', 'pattern', '8M')
    source = Driver(allow='nbds:localhost', certificates=f'{d}/c')
    check('no TLS' in source.open(f'nbds://localhost:{port}/', -13), 'no sentence')
    source.close()
    end(server)
    server, port = over_tcp('--tls=require', f'--tls-certificates={shows(pki, f"{d}/s3", "server")}', 'pattern', '8M')
    source = Driver(allow='nbd:localhost', certificates=f'{d}/c')
    source.say(f'open nbd://localhost:{port}/')
    check(int(source.wait('open').split()[1]) < 0, 'without TLS')
    source.close()
    source = Driver(allow='nbds:localhost')
    source.open(f'nbd://localhost:{port}/', -1)  # only TLS was allowed
    source.close()
    end(server)


@case('a server that wants a certificate of ours')
def of_clients(d):
    pki = authority(f'{d}/pki', 'server', 'client')
    server, port = over_tcp('--tls=require', '--tls-verify-peer', f'--tls-certificates={shows(pki, f"{d}/s", "server")}',
                            'pattern', '8M')
    source = Driver(allow='nbds:localhost', certificates=knows(pki, f'{d}/c', 'ca-cert', 'client-cert', 'client-key'))
    source.open(f'nbds://localhost:{port}/')
    source.right(0, MIB)
    source.close()
    source = Driver(allow='nbds:localhost', certificates=knows(pki, f'{d}/n', 'ca-cert'), open=5)
    source.say(f'open nbds://localhost:{port}/')
    check(int(source.wait('open').split()[1]) < 0, 'without one')
    source.close()
    end(server)


@case('keys that are shared, over a unix socket and a broker, and again after the server was killed')
def shared_keys(d):
    need('psktool', 'nbdkit')
    for user in 'alice', 'bob':
        run('psktool', '-u', user, '-p', f'{d}/{user}.psk')
    server = nbdkit(f'{d}/s', '--tls=require', f'--tls-psk={d}/alice.psk', 'pattern', '8M')
    uri = f'nbds+unix:///?socket={d}/s'
    for broker in 0, 1:
        source = Driver(allow=f'nbd+unix:{d}', psk=f'{d}/alice.psk', user='alice', broker=broker)
        source.open(uri)
        os.rename(f'{d}/alice.psk', f'{d}/away')  # it was read
        source.right(0, MIB)
        end(server, f'{d}/s')
        source.wait('changed', 'reconnecting')
        os.rename(f'{d}/away', f'{d}/alice.psk')
        server = nbdkit(f'{d}/s', '--tls=require', f'--tls-psk={d}/alice.psk', 'pattern', '8M')
        source.wait('changed', 'connected')
        source.right(MIB, MIB)
        source.close(300)
    for psk, user in ('bob', 'bob'), ('alice', 'mallory'):
        source = Driver(allow=f'nbd+unix:{d}', psk=f'{d}/{psk}.psk', user=user)
        source.say(f'open {uri}')
        check(int(source.wait('open').split()[1]) in (-13, -22), f'the key of {user}')
        source.close()
    source = Driver(allow=f'nbd+unix:{d}', certificates='/nonexistent')
    source.open(uri, -2)
    source.close()
    end(server)


if __name__ == '__main__':
    harness.main(workers=2)
