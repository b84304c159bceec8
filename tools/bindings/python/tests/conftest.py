# SPDX-License-Identifier: MIT OR Apache-2.0
"""Chains for the tests, made by qemu-img."""
import contextlib
import functools
import os
import random
import shutil
import subprocess
import sys

import pytest

import blockpull

SIZE = 8 << 20


def qemu_img(*words):
    return subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, text=True).stdout


class Chain:
    """A qcow2 overlay on a raw base, and what a guest reads from it."""

    def __init__(self, directory):
        rng = random.Random(20261129)
        self.base, self.top = directory / "base.raw", directory / "top.qcow2"
        content = bytearray(SIZE)
        content[1 << 20:3 << 20] = rng.randbytes(2 << 20)
        self.base.write_bytes(content)
        qemu_img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", self.top)
        own = rng.randbytes(100 << 10)
        with blockpull.Engine() as engine, engine.open(self.top, guest_io=True) as disk:
            disk.write(5 << 20, own)
            disk.flush()
        content[5 << 20:(5 << 20) + len(own)] = own
        self.content = bytes(content)

    def judge(self):
        """QEMU reads the same, and finds nothing to complain of."""
        flat = self.top.with_suffix(".flat")
        qemu_img("check", "-q", self.top)
        qemu_img("convert", "-O", "raw", self.top, flat)
        assert flat.read_bytes() == self.content

    def has_link(self):
        return "backing file:" in qemu_img("info", "-U", self.top)


@pytest.fixture
def chain(tmp_path):
    if not shutil.which("qemu-img"):
        pytest.skip("qemu-img is not installed")
    return Chain(tmp_path)


@pytest.fixture
def engine():
    with blockpull.Engine() as opened:
        yield opened


@pytest.fixture
def replaced(monkeypatch):
    """`with replaced("blockpull.disk", "bpull_job_start", function)`: what that module calls by this name is the
    function, which gets the library's own first."""
    @contextlib.contextmanager
    def replace(module, name, function):
        lib = sys.modules[module].lib

        class Library:
            def __getattr__(self, wanted):
                own = getattr(lib, wanted)
                return functools.partial(function, own) if wanted == name else own
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.lib", Library())
            yield
    return replace


def pytest_report_header():
    return f"libblockpull {blockpull.version()}, {os.environ.get('LD_LIBRARY_PATH', 'installed')}"
