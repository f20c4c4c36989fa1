#!/usr/bin/env python3
"""tests/system/gates.py - the gates measured over many trials; the table of deploy/manual/safety.md.

First the kernel's part, by tests/component/host/measure_gates.c: the last answer of a database less
the end of its lease, for each gate alone and both, for each fault, at rest and under load of the
processors, the disk and the memory. Then whole clusters: the first write that the new primary
acknowledges less the last one of the old, with the watchers' clocks right and with all of them
fast by the bound (1/128), which is the direction that would hurt. All in milliseconds.
"""
import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time

import faults
import stories
from stories import DATABASES, LabError, MS

GATES = ("bpf", "nft", "bpf+nft")
FAULTS = ("frozen", "killed", "paused", "paused-killed", "flushed", "flushed-frozen", "taken-away")
BOUND_PPM = 1000000 // 128
COLUMNS = ("kept v4", "kept v6", "new v4", "new v6")
BURN = "while True: pass"
CHURN = """
while True:
    kept = [bytearray(1 << 20) for _ in range(1024)]
    for one in kept:
        one[::4096] = b"x" * 256
"""
WRITE = """
import os, sys
while True:
    with open(sys.argv[1], "wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 16))
            file.flush()
            os.fsync(file.fileno())
"""


@contextlib.contextmanager
def load_of(kind, directory):
    scripts = {"": [], "cpu": [BURN] * (2 * (os.cpu_count() or 1)), "memory": [CHURN],
               "disk": [WRITE] * 2}[kind]
    running = [subprocess.Popen([sys.executable, "-c", script, f"{directory}/stress-{number}"])
               for number, script in enumerate(scripts)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def trials(build, gate, fault, count, seed):
    """[[µs or None] * 4]: the latest answer of each column, after the end of the lease."""
    done = subprocess.run([f"{build}/tests/component/host/hafailover-gates", gate, fault, str(count),
                           str(seed)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60 + 10 * count, check=True)
    rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("trial ")]
    return [[None if word == "-" else int(word) for word in row] for row in rows]


def ms(us):
    return f"{us / 1000:+.1f}"


def row_of(rows):
    """n, the median over all, and the latest of each column."""
    every = sorted(value for row in rows for value in row if value is not None)
    cells = [str(len(rows)), ms(every[len(every) // 2]) if every else "-"]
    for column in range(len(COLUMNS)):
        values = [row[column] for row in rows if row[column] is not None]
        cells.append(ms(max(values)) if values else "-")
    return cells


def kernel(args):
    print("| gate | fault | load | n | median | " + " | ".join(COLUMNS) + " |")
    print("| --- | --- | --- | --- | --- |" + " --- |" * len(COLUMNS), flush=True)
    plans = [(gate, fault, "") for fault in FAULTS for gate in GATES]
    plans += [(gate, "frozen", load) for load in ("cpu", "disk", "memory") for gate in GATES]
    with tempfile.TemporaryDirectory(dir=args.build) as directory:
        for gate, fault, load in plans:
            if args.only and args.only not in (fault, load):
                continue
            with load_of(load, directory):
                rows = trials(args.build, gate, fault, args.trials, args.seed)
            cells = [gate, fault, load or "-", *row_of(rows)]
            print("| " + " | ".join(cells) + " |", flush=True)


def one_change(lab, down):
    """Milliseconds from the last acknowledgement of the old primary to the first of the new."""
    stories.ready(lab)
    old = lab.primary()
    writers = [lab.writing(count=20), *lab.inside(old), *lab.direct(*DATABASES)]
    at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    down(lab, old)
    lab.wait_acks(writers[0], at, but=old, deadline_s=30)
    time.sleep(0.5)
    lab.heal()
    lab.wait_settled(60)
    lab.stop_writers()
    acks = [ack for writer in writers for ack in writer.acks()]
    last = max(ack.answered for ack in acks if ack.server == old)
    first = min(ack.answered for ack in acks if ack.server != old)
    return (first - last) / MS


def cluster(args):
    print("\n| fault | clocks of the watchers | n | least | median | most |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    ways = {"host cut off": lambda lab, old: lab.call("cut", old),
            "agent frozen": lambda lab, old: lab.stop(old, "agent")}
    for ppm in (0, BOUND_PPM):
        faults.RATE_PPM = {watcher: ppm for watcher in stories.WATCHERS}
        lab = faults.ChaosLab(args.build, "redis", args.seed)
        try:
            for name, down in ways.items():
                gaps = []
                for _ in range(args.trials):
                    try:
                        gaps.append(one_change(lab, down))
                    except LabError as error:
                        lab.tell(f"void: {error}")
                        lab.stop_writers()
                gaps.sort()
                clocks = "right" if ppm == 0 else "all fast by 1/128"
                print(f"| {name} | {clocks} | {len(gaps)} | {gaps[0]:.1f} | "
                      f"{gaps[len(gaps) // 2]:.1f} | {gaps[-1]:.1f} |", flush=True)
        finally:
            lab.tear_down()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one fault or load; cluster: the clusters alone; "
                        "kernel: without them")
    args = parser.parse_args()
    if args.only != "cluster":
        args.only, only = None if args.only == "kernel" else args.only, args.only
        kernel(args)
        if only:
            return 0
    cluster(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
