#!/usr/bin/env python3
"""tests/sim/mutate.py - rules of the core broken on purpose, each of which the simulator must find.

For each row a copy of lib/ and tests/ gets one change, is built, and runs seeds until one fails. The
tree itself is never touched. `--case NAME` runs one row, `--seeds N` bounds the search.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = ["-DHA_SERVICES_MAX=4", "-DHA_HISTORY_MAX=16", "-DHA_OUTBOX_MAX=32",
         "-DHA_ARCHIVE_SIZE=4096u"]
WIRE = ("codec", "parts", "settings", "snapshot")
DEADLINE_S = 900

# (name, file in lib/core, what is there once, what stands there instead)
MUTATIONS = (
    ("majority-of-grants", "agent.c", "count < set_size / 2 + 1 ? 0 : ends[set_size / 2]",
     "count < 1 ? 0 : ends[0]"),
    ("from-receipt", "agent.c", "uint64_t until_ms = promise->stamp + promise->length_ms;",
     "uint64_t until_ms = now_ms + promise->length_ms;"),
    ("lease-twice-as-long", "agent.c", "held->lease_until_ms = end_ms;\n    if (end_ms > now_ms) {",
     "if (end_ms != 0)\n        end_ms += 3000;\n    held->lease_until_ms = end_ms;\n"
     "    if (end_ms > now_ms) {"),
    ("gate-stays-open", "agent.c", "    ha_held_close_gate(held, out);\n    release_vip(held, out);\n"
     "    ha_held_persist(held, out);", "    held->gate_closed = true;\n    ha_held_persist(held, out);"),
    ("promise-without-end", "promise.c", "until_ms = now_ms + length_ms + ha_drift_ms(length_ms);",
     "until_ms = now_ms;"),
    ("forgets-after-a-restart", "watcher.c", "if (options->promise_max_ms > 0)",
     "if (options->promise_max_ms > UINT32_MAX - 1)"),
    ("not-durable-first", "promise.c", "        length_ms = w->promise_durable_ms;\n", ""),
    ("names-no-remainder", "promise.c", "return until_ms > now_ms ? (uint32_t)(until_ms - now_ms) : 0;",
     "return until_ms > now_ms ? 0 : 0;"),
    ("promote-unfenced", "cluster_failover.c", "    move_to(service, HA_MOVE_BEGIN);\n"
     "    ha_cluster_notify(cluster, service, HA_NOTICE_FAILOVER_BEGIN, c->text);\n    return HA_OK;",
     "    move_to(service, HA_MOVE_BEGIN);\n    service->fence = HA_FENCE_EXPIRED;\n"
     "    service->state = HA_STATE_SELECTING;\n    return HA_OK;"),
    ("local-state-in-apply", "watcher.c", "int rv = ha_cluster_apply(",
     "w->cluster.wall_ms += w->leader ? 1 : 0;\n    int rv = ha_cluster_apply("),
)


def build(directory):
    sources = [*sorted((directory / "lib/core").glob("*.c")),
               *(directory / f"lib/wire/{name}.c" for name in WIRE),
               *sorted((directory / "lib/base").glob("*.c")),
               *sorted((directory / "tests/sim").glob("*.c"))]
    done = subprocess.run(["cc", "-std=gnu11", "-O2", "-w", "-D_GNU_SOURCE", '-DHA_VERSION="0"',
                           "-iquote", ".", *SMALL, "-o", "sim", *map(str, sources)], cwd=directory,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"does not build: {done.stderr.strip()[-300:]}")


def hunt(row, seeds):
    """The first line of what the simulator found, None if nothing."""
    with tempfile.TemporaryDirectory(prefix="hafo-mutate-") as name:
        directory = pathlib.Path(name)
        for room in ("lib", "tests/sim"):
            shutil.copytree(ROOT / room, directory / room)
        if row is not None:
            path = directory / "lib/core" / row[1]
            text = path.read_text(encoding="utf-8")
            if text.count(row[2]) != 1:
                raise RuntimeError(f"{row[1]} has {text.count(row[2])} of the text to change")
            path.write_text(text.replace(row[2], row[3]), encoding="utf-8")
        build(directory)
        done = subprocess.run(["./sim", "--seeds", str(seeds)], cwd=directory, capture_output=True,
                              text=True, timeout=DEADLINE_S, check=False)
        if done.returncode == 0:
            return None
        found = re.search(r"^(seed .*|CRASH.*)$", done.stdout, re.M)
        return f"exit {done.returncode}: {found[1] if found else done.stdout[-200:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case")
    parser.add_argument("--seeds", type=int, default=20000)
    args = parser.parse_args()
    rows = [row for row in MUTATIONS if args.case in (None, row[0])]
    print(f"1..{len(rows) + 1}")
    bad = 0
    for number, row in enumerate([None, *rows], 1):
        name = "unchanged, nothing is found" if row is None else row[0]
        try:
            found = hunt(row, 200 if row is None else args.seeds)
            good = (found is None) == (row is None)
        except (RuntimeError, subprocess.SubprocessError) as error:
            found, good = str(error), False
        bad += not good
        print(f"{'ok' if good else 'not ok'} {number} - {name}")
        print("# " + (found or "nothing found").replace("\n", "\n# "), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
