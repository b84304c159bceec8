# SPDX-License-Identifier: MIT OR Apache-2.0
"""A text file as a C string, one literal a line. usage: embed.py FILE NAME"""
import json
import sys

print(f"/* Made from {sys.argv[1].rsplit('/')[-1]} by embed.py. */\nstatic const char {sys.argv[2]}[] =")
with open(sys.argv[1], encoding="ascii") as file:
    print("\n".join("\t" + json.dumps(line) for line in file) + ";")
