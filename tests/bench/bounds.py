#!/usr/bin/env python3
"""tests/bench/bounds.py - a day's worth of flapping, sped up: log, snapshots and memory stay bounded.

Databases are killed as fast as they are replaced, and come back a moment later. What each watcher
and agent holds in memory and each watcher on its disk, once the log has been cut a few times, must
not grow from there on, however many entries follow. Real daemons over model servers, as in cost.py.
"""
import argparse
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tidy"))

from cost import pss_kib  # noqa: E402
from models import HafailoverModels, allow_files  # noqa: E402
from system import LabError, WATCHERS, sweep, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

SERVICES = 20
AGAIN_MS = 300
WARM_ENTRIES = 4096  # by then the log has been cut four times
SLACK = 1.15         # heaps breathe


def on_disk_kib(lab, host):
    folder = lab.run / host / "data"
    return sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file()) / 2


def look(lab, index):
    found = {"index": index}
    for kind, pairs in lab.watching().items():
        found[f"memory of a {kind}"] = max(pss_kib(pid) for _, pid in pairs)
    found["disk of a watcher"] = max(on_disk_kib(lab, host) for host in WATCHERS)
    return found


def kill_all(lab, services):
    """Every primary that has a successor, at once."""
    killed = []
    for service in services:
        number = int(service["name"][1:])
        if service["state"] != "STEADY" or not service["primary"]:
            continue
        try:
            os.kill(lab.model_pid(service["primary"], number), signal.SIGKILL)
            killed.append(service["name"])
        except (ProcessLookupError, ValueError):
            pass  # it is on its way back
    return killed


def flap(lab, minutes):
    """[look] while everything is killed again and again; how many failovers there were."""
    looks, first = [], sum(service["epoch"] for service in lab.services())
    end, next_look = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end:
        status = lab.status(deadline_s=30)
        kill_all(lab, status["services"])
        if time.monotonic() >= next_look:
            looks.append(look(lab, status["index"]))
            print("# " + ", ".join(f"{name} {value:.0f}" for name, value in looks[-1].items()),
                  flush=True)
            next_look = time.monotonic() + 5
        time.sleep(0.5)
    wait_for(lab.all_ready, 120, "all settle once they are left alone", 1)
    return looks, sum(service["epoch"] for service in lab.services()) - first


def growth(looks, name):
    """What the last third of the looks shows beyond the first third."""
    third = len(looks) // 3
    before = max(one[name] for one in looks[:third])
    after = max(one[name] for one in looks[-third:])
    if after > before * SLACK:
        yield f"{name}: {before:.0f} KiB, later {after:.0f} KiB"


def judge(looks, failovers):
    tap = Tap()
    warm = [one for one in looks if one["index"] >= looks[0]["index"] + WARM_ENTRIES]
    entries = looks[-1]["index"] - looks[0]["index"]
    print(f"# {failovers} failovers, {entries} entries, {len(warm)} looks after the first "
          f"{WARM_ENTRIES} entries")
    enough = len(warm) >= 9 and warm[-1]["index"] - warm[0]["index"] >= WARM_ENTRIES
    tap.case("it flapped enough to tell", [] if enough else [f"{entries} entries"])
    for name in looks[0]:
        if name != "index" and enough:
            tap.case(f"{name} does not grow", growth(warm, name))
    return tap.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sweep(args.build)
    allow_files()
    lab = HafailoverModels(args.build, SERVICES, SERVICES, AGAIN_MS)
    try:
        lab.up()
        looks, failovers = flap(lab, args.minutes)
    except LabError as error:
        print(f"Bail out! {' '.join(str(error).split())[:300]}")
        return 1
    finally:
        lab.down()
    return judge(looks, failovers)


if __name__ == "__main__":
    sys.exit(main())
