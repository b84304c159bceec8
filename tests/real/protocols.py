# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is not NBD: bases behind a web server, an S3 server and an SSH server, read through nbdkit."""
import os
import pathlib
import re
import shlex

from nbd import Pull
from rig import MIB, Skip, check, free_port, kill, need, same, wait_for

NGINX_CONF = '''
daemon off;
master_process off;
pid {d}/nginx.pid;
error_log {d}/nginx.log;
events {{}}
http {{
    access_log {d}/access.log;
    client_body_temp_path {d}/nginx-body;
    proxy_temp_path {d}/nginx-proxy;
    fastcgi_temp_path {d}/nginx-fastcgi;
    uwsgi_temp_path {d}/nginx-uwsgi;
    scgi_temp_path {d}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port};
        root {d}/www;
    }}
}}
'''

SSHD_CONF = pathlib.Path(__file__).resolve().parents[2] / 'tools/fleet/sshd.conf'


def advice(rig, top):
    """What a pull without a mapping says: the line that serves the base, and the mapping, as they are to be typed."""
    said = rig.ours_run('pull', top, rc=None)
    check(said.returncode not in (0, 130), f'without a mapping: {said}')
    found = re.search(r'serve it as NBD \((.*)\) and say so: (--map-backing .*)', said.stderr)
    check(found, f'the refusal shows no line: {said.stderr}')
    return found[1], found[2]


def typed(rig, line, mapping, top):
    """A user types the line as it stands, and pulls. /run is another one there, and nbdkit's background process ends
    with the shell: both are namespaces of this one command."""
    script = f'mount -t tmpfs none /run && {line} && exec "$0" pull -q {mapping} "$1"'
    # --kill-child: what happens to this process happens to all of them. The shell is a child, to outlive the exec.
    return rig.run('unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', script, rig.blockpull, top)


def web_server(rig, port):
    return rig.start('nginx', '-e', rig.d / 'nginx.log', '-p', rig.d, '-c', rig.d / 'nginx.conf', at=port)


def web_lost(rig, server, port):
    """nginx is killed in the middle, and started again when nbdkit has noticed. What it bears, a pull does."""
    name = f'http://127.0.0.1:{port}/base.raw'
    top, twin = rig.overlay(name, rig.d / 'base.raw', 'raw', top='lost')
    os.link(rig.d / 'base.raw', rig.d / 'www/base.raw')
    kit, uri = rig.nbdkit('--filter=retry', 'curl', f'url={name}', 'retry-delay=1', sock='lost')
    pull = Pull(rig, '--bandwidth=4M', '--burst=64K', f'--map-backing={name}={uri}', top)
    pull.until('the middle', lambda line: line.get('network', {}).get('bytes-read', 0) > 2 * MIB)
    kill(server)
    wait_for('an error of nbdkit', lambda: 'pread: ' in kit.log.read_text())
    web_server(rig, port)
    pull.completed()
    rig.judge(top, twin)


def web(rig):
    need('nginx', 'nbdkit', 'unshare')
    if os.geteuid():
        raise Skip('a /run of its own wants to be root')
    port = free_port()
    rig.base()
    (rig.d / 'www').mkdir()
    (rig.d / 'nginx.conf').write_text(NGINX_CONF.format(d=rig.d, port=port))
    server = web_server(rig, port)
    for fmt in 'raw', 'qcow2':
        os.link(rig.d / f'base.{fmt}', rig.d / 'www/base.img')
        top, twin = rig.overlay(f'http://127.0.0.1:{port}/base.img', rig.d / f'base.{fmt}', fmt, top=fmt)
        line, mapping = advice(rig, top)
        check(f'url=http://127.0.0.1:{port}/base.img' in line, f'the line: {line}')
        typed(rig, line, mapping, top)
        rig.judge(top, twin)
        os.unlink(rig.d / 'www/base.img')
    ranges = (rig.d / 'access.log').read_text().count(' 206 ')
    check(ranges, 'nginx was asked for no range')
    web_lost(rig, server, port)
    return f'raw and qcow2 by the line of the refusal, as it stands; {ranges} ranges; killed and started again'


def s3(rig):
    """An S3 server of the npm registry; the credentials are nbdkit's own, from its file."""
    need('node', 'npm', 'nbdkit')
    try:
        import boto3  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise Skip('python3-boto3 is not installed') from None
    (rig.d / 'package.json').write_text('{}')
    fetched = rig.run('npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', 's3rver@3.7.1', rc=None, cwd=rig.d)
    if fetched.returncode:
        raise Skip('npm could not fetch the server: ' + ' '.join(fetched.stderr.split())[:200])
    port, bucket = free_port(), 'images'
    rig.base()
    rig.start('node', rig.d / 'node_modules/s3rver/bin/s3rver.js', '-a', '127.0.0.1', '-p', port, '-d', rig.d / 'objects', '-s',
              at=port)
    url, key = f'http://127.0.0.1:{port}', 'S3RVER'  # the server's only key, and its secret
    client = boto3.client('s3', endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=key, region_name='us-east-1')
    client.create_bucket(Bucket=bucket)
    (rig.d / '.aws').mkdir()
    (rig.d / '.aws/credentials').write_text(f'[default]\naws_access_key_id = {key}\naws_secret_access_key = {key}\n')
    (rig.d / '.aws/config').write_text('[default]\nregion = us-east-1\n')
    for fmt in 'raw', 'qcow2':
        client.upload_file(str(rig.d / f'base.{fmt}'), bucket, f'golden.{fmt}')
        name = f's3://{bucket}/golden.{fmt}'
        top, twin = rig.overlay(name, rig.d / f'base.{fmt}', fmt, top=fmt)
        line, _ = advice(rig, top)
        same(shlex.split(line)[-3:], ['S3', 'bucket=BUCKET', 'key=KEY'], 'the line')
        server, uri = rig.nbdkit('--filter=retry', 'S3', f'bucket={bucket}', f'key=golden.{fmt}', f'endpoint-url={url}', sock=fmt)
        rig.ours_run('pull', '-q', '--map-backing', f'{name}={uri}', top)
        rig.judge(top, twin)
        check(server.poll() is None, 'nbdkit has ended')
    return 'raw and qcow2 by boto3, the credentials in a file'


def ssh(rig):
    """A server of our own: its keys, its port and its /run are the scenario's."""
    need('sshd', 'ssh-keygen', 'nbdkit', 'unshare')
    if os.geteuid():
        raise Skip('sshd wants to be root')
    d, port = rig.d, free_port()
    rig.base()
    for name in 'host', 'key':
        rig.run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', d / name)
    (d / 'sshd.conf').write_text(SSHD_CONF.read_text().format(d=d, port=port))
    (d / 'known').write_text(f'[127.0.0.1]:{port} ' + (d / 'host.pub').read_text())
    script = 'mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f "$0"'
    rig.start('unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', script, d / 'sshd.conf', at=port)
    words = [f'port={port}', 'user=root', f'known-hosts={d}/known', f'identity={d}/key', 'config=']
    for fmt in 'raw', 'qcow2':
        name = f'ssh://127.0.0.1:{port}{d}/base.{fmt}'
        top, twin = rig.overlay(name, d / f'base.{fmt}', fmt, top=fmt)
        line, _ = advice(rig, top)
        same(shlex.split(line)[-3:], ['ssh', 'host=HOST', 'path=/PATH'], 'the line')
        _, uri = rig.nbdkit('--filter=retry', 'ssh', 'host=127.0.0.1', f'path={d}/base.{fmt}', *words, sock=fmt)
        rig.ours_run('pull', '-q', '--map-backing', f'{name}={uri}', top)
        rig.judge(top, twin)
    return 'raw and qcow2 over sftp, the host key checked'
