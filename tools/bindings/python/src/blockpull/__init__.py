# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull: pull a disk image's backing chain into the image, and read and write its disk meanwhile.

    with blockpull.Engine() as engine, engine.open("overlay.qcow2") as disk:
        for progress in disk.pull(bandwidth=50 << 20):
            print(f"{progress.fraction:.0%}")

An Engine has a thread of its own, so its objects may be used from any thread. What each call does on disk is written
in blockpull.h(3); names here are the same without their prefix.
"""
from ._enums import (BackingRule, Compression, Copy, DiskFlags, Format, FormatFrom, Io, IoFlags, JobState, JobStatus,
                     JobType, OnError, OpenNeed, OpenWhat, Remedy, Repair)
from ._opener import OpenRequest
from .disk import Disk, DiskStats, Extent, IoStats
from .engine import Engine
from .errors import Error, JobCanceled, JobFailed
from .images import CheckResult, Finding, Layer, Measure, check, create, info, measure, measure_pull, version
from .job import Job, Progress

__all__ = ["BackingRule", "CheckResult", "Compression", "Copy", "Disk", "DiskFlags", "DiskStats", "Engine",
           "Error", "Extent", "Finding", "Format", "FormatFrom", "Io", "IoFlags", "IoStats", "Job", "JobCanceled",
           "JobFailed", "JobState", "JobStatus", "JobType", "Layer", "Measure", "OnError", "OpenNeed",
           "OpenRequest", "OpenWhat", "Progress", "Remedy", "Repair", "check", "create", "info", "measure",
           "measure_pull", "version"]
