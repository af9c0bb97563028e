"""Latencies with and without the CPU's matrix tiles (AMX).

On a CPU that has them, 8-bit convolutions run on tiles of 16 rows and 64 channels: one with 16
channels takes as long as one with 64, and fewer channels save no time. Most devices have no such
tiles, so that the latency without them is the one that tells of other machines.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Sequence
from pathlib import Path

from tfopt.measure.cost import Latency, benchmark_interleaved

# Linux on x86-64: arch_prctl(ARCH_REQ_XCOMP_PERM) asks the kernel for the tiles' registers.
_ARCH_PRCTL, _REQUEST = 158, 0x1023
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050001


def are_there() -> bool:
    """Whether this CPU has matrix tiles for 8-bit numbers, and this system can do without."""
    info = Path("/proc/cpuinfo")
    known = platform.system() == "Linux" and platform.machine() == "x86_64" and info.exists()
    return known and " amx_int8" in info.read_text()


def latencies(files: Sequence[str], tiles: bool) -> list[Latency]:
    """Times files in turns, on one thread. Without tiles, this process never has them again."""
    if not tiles:
        _refuse_tiles()
    return benchmark_interleaved(files, runs=5000, seconds=4.0)


def _refuse_tiles() -> None:
    """Makes the system deny the tiles' registers to this process, as on a CPU without."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = (
        (_LOAD, 0, 0, 0),  # the system call's number
        (_IF_EQUAL, 0, 3, _ARCH_PRCTL),
        (_LOAD, 0, 0, 16),  # its first argument
        (_IF_EQUAL, 0, 1, _REQUEST),
        (_RETURN, 0, 0, _FAIL),
        (_RETURN, 0, 0, _ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    denied = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    denied = denied or libc.prctl(_PR_SET_SECCOMP, _FILTER, program, 0, 0)
    if denied:
        raise OSError(ctypes.get_errno(), "the system does not let a process do without its tiles")
