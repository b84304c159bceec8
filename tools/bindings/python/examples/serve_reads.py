#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Serves a disk's bytes while its chain is pulled into the image:
serve_reads.py IMAGE SOCKET [BYTES_A_SECOND]

A client sends lines "OFFSET LENGTH" over the unix socket and gets that many bytes, or nothing and the end of the
connection if it asks for something else. The program ends when the pull has completed and the last client is gone.
"""
import os
import socketserver
import sys
import threading

import blockpull

LENGTH_MAX = 1 << 20


class Reader(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            try:
                offset, length = map(int, line.split())
                if not 0 <= length <= LENGTH_MAX:
                    return
                self.wfile.write(self.server.disk.read(offset, length))  # type: ignore[attr-defined]
            except (ValueError, OverflowError, blockpull.Error):
                return


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False  # close() waits for clients

    def __init__(self, path: str, disk: blockpull.Disk):
        super().__init__(path, Reader)
        self.disk = disk


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with blockpull.Engine() as engine, engine.open(sys.argv[1], guest_io=True) as disk:
            with Server(sys.argv[2], disk) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                print("serving", flush=True)
                try:
                    disk.pull(bandwidth=int((sys.argv + ["0"])[3])).wait()
                    print("stands alone", flush=True)
                finally:
                    server.shutdown()
                    os.unlink(sys.argv[2])
    except (blockpull.Error, blockpull.JobCanceled) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
