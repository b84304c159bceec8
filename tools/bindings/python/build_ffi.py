# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes blockpull._ffi from the installed header: nothing of it is written down here a second time.

cffi reads declarations, not C: directives, attributes and the macro of visibility are taken out first. The C compiler
then checks every struct and constant against the header itself.
"""
import os
import re
import shlex
import subprocess

from cffi import FFI


def pkg_config(*words):
    """Flags, those for the system's own directories too. PKG_CONFIG_PATH leads to a library elsewhere."""
    env = dict(os.environ, PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1", PKG_CONFIG_ALLOW_SYSTEM_LIBS="1")
    result = subprocess.run(["pkg-config", *words, "blockpull"], check=True, capture_output=True, text=True, env=env)
    return shlex.split(result.stdout)


def directories(words):
    """Of -I or -L."""
    return [word[2:] for word in words]


def run_directories():
    """A library outside the loader's directories is found again where it was found now; one in a package's root will
    be in the system's own."""
    if os.environ.get("PKG_CONFIG_SYSROOT_DIR"):
        return []
    return [d for d in directories(pkg_config("--libs-only-L")) if not d.startswith(("/usr/lib", "/lib"))]


def installed_header():
    for directory in directories(pkg_config("--cflags-only-I")):
        path = os.path.join(directory, "blockpull.h")
        if os.path.exists(path):
            return path
    raise SystemExit("blockpull.h is not where pkg-config says; is libblockpull installed with its header?")


def declarations(header):
    """The header's text as cffi reads it."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    text = re.sub(r'#ifdef __cplusplus.*?#endif', "", text, flags=re.S)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    return "struct iovec { void *iov_base; size_t iov_len; ...; };\n" + text.replace("BPULL_API", "")


CALLBACKS = """
extern "Python" void blockpull_report(void *opaque, int is_leak, const char *text);
extern "Python" int blockpull_open_file(void *opaque, const struct bpull_open_request *request);
"""


def make():
    with open(installed_header(), encoding="utf-8") as header:
        text = declarations(header.read())
    made = FFI()
    made.cdef(text + CALLBACKS)
    made.set_source("blockpull._ffi", "#include <blockpull.h>",
                    extra_compile_args=pkg_config("--cflags"), extra_link_args=pkg_config("--libs"),
                    runtime_library_dirs=run_directories())
    return made


ffi = make()
