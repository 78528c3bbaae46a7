"""What the kernel knows of a process: the CPU it took, and the memory that is its own."""

import time
from pathlib import Path

__all__ = ["cpu_seconds", "pss_bytes"]


def cpu_seconds(pid: int) -> float:
    """Return user and system time of all its threads, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) returns


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss in smaps_rollup")
