# SPDX-License-Identifier: MIT OR Apache-2.0
from setuptools import setup

setup(cffi_modules=["build_ffi.py:ffi"])
