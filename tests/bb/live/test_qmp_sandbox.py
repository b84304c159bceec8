# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the driver of a sandbox sends (qmp_sandbox.py): qemu-storage-daemon, the nbdkit plugin and `blockpull serve` must answer alike."""
import harness
import qmp_play
import qmp_sandbox

qmp_play.register(qmp_sandbox.SANDBOX)

if __name__ == '__main__':
    harness.main(workers=2)
