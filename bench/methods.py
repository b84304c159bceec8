# SPDX-License-Identifier: MIT OR Apache-2.0
"""The ways to move a scenario's bytes: ours, QEMU's, plain copies.

Each is a function of a prefix, words before the command that watch it (plain_copy's `cost`, strace),
and the file that takes its output. It works in the current directory on `image` or makes `new`.
"""
import collections
import json
import os
import subprocess

# go(prefix, out); the file it makes; whether that is an image
Method = collections.namedtuple("Method", "go made is_image")


class Broken(Exception):
    pass


def ended(process, name):
    if process.wait():
        raise Broken(f"{os.path.basename(name)}: exit status {process.returncode}")


def command(*words):
    def go(prefix, out):
        ended(subprocess.Popen([*prefix, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out), words[0])
    return go


def stream(form):
    """block-stream in a qemu-storage-daemon that is spoken to on its standard input."""
    def go(prefix, out):
        node = {"driver": form, "node-name": "top", "file": {"driver": "file", "filename": "image"}}
        daemon = subprocess.Popen(
            [*prefix, "qemu-storage-daemon", "--chardev", "stdio,id=c", "--monitor", "chardev=c",
             "--blockdev", json.dumps(node)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out)
        error = "ended early"
        with daemon.stdin, daemon.stdout:
            for verb in ({"execute": "qmp_capabilities"},
                         {"execute": "block-stream", "arguments": {"job-id": "j", "device": "top"}}):
                daemon.stdin.write(json.dumps(verb).encode() + b"\n")
            daemon.stdin.flush()
            for line in daemon.stdout:
                message = json.loads(line)
                if "error" in message:
                    error = message["error"]["desc"]
                    break
                if message.get("event") == "BLOCK_JOB_COMPLETED":
                    error = message["data"].get("error")
                    break
            daemon.stdin.write(b'{"execute": "quit"}\n')
            daemon.stdin.flush()
            daemon.stdout.read()
        ended(daemon, "qemu-storage-daemon")
        if error:
            raise Broken(f"block-stream: {error}")
    return go


def table(blockpull, plain_copy, form, with_clone):
    """Name: Method, for an overlay of that format."""
    # A QED file can't record its backing file's format.
    backing = ["--backing-format=qed"] if form == "qed" else []
    methods = {
        "blockpull": Method(command(blockpull, "pull", "-q", "--progress=none", *backing, "image"), "image", True),
        "rebase": Method(command("qemu-img", "rebase", "-f", form, "-b", "", "image"), "image", True),
        "stream": Method(stream(form), "image", True),
        "convert": Method(command("qemu-img", "convert", "-f", form, "-O", form, "image", "new"), "new", True),
        "ceiling": Method(command(plain_copy, "ceiling", "packed", "new"), "new", False),
        "ref": Method(command(plain_copy, "ref", "packed", "new"), "new", False),
    }
    if with_clone:
        methods["clone"] = Method(command(plain_copy, "clone", "packed", "new"), "new", False)
    return methods


def rotated(methods, round_no):
    """The same ones, another first: what a method leaves behind is not always the same one's to bear."""
    names = list(methods)
    at = round_no % len(names)
    return {name: methods[name] for name in names[at:] + names[:at]}
