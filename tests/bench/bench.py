#!/usr/bin/env python3
"""tests/bench/bench.py - hafailover beside Sentinel and Patroni, in one run, interleaved.

All systems are up at the same time, each in a lab of its own; round by round and fault by fault they
take their turn one after another, so that the machine's mood hits all alike. Results are written
after every run: what has been measured is kept, whatever ends the bench.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import calm  # noqa: E402
import cost  # noqa: E402
import measure  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402
from postgresql import HafailoverPostgresql, Patroni  # noqa: E402
from redis import Hafailover, Sentinel  # noqa: E402
from system import LabError, sweep  # noqa: E402

FULL_RUNS, QUICK_RUNS = 20, 1
QUICK_PROFILES = {"Sentinel": ["tight"], "Patroni": ["tight"], "hafailover": ["default", "fast"]}


def version_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return "?"
    return (done.stdout or done.stderr).strip().split("\n")[0]


def setting():
    """What a reader must know to believe the numbers."""
    cpu = [line.split(":", 1)[1].strip() for line in
           pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
           if line.startswith("model name")]
    load = os.getloadavg()
    return [f"- {time.strftime('%F %T %Z')}; {len(cpu)} cores ({cpu[0] if cpu else '?'}), Linux "
            f"{platform.release()}; load before the start {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}",
            f"- {version_of('redis-server', '--version')}",
            f"- {version_of('patroni', '--version')}, {version_of('etcd', '--version')}, "
            f"{version_of('/usr/lib/postgresql/15/bin/postgres', '--version')}",
            "- every system in network namespaces of its own: three database hosts, three hosts that "
            "watch, one client; all up at the same time, their runs interleaved"]


class Bench:
    def __init__(self, args):
        self.args = args
        self.out = pathlib.Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "runs.jsonl").unlink(missing_ok=True)
        self.results, self.calms, self.costs, self.scales = [], [], [], []
        self.head = setting()
        kinds = [Hafailover, Sentinel, HafailoverPostgresql, Patroni]
        if not HafailoverPostgresql.available():
            print("  this tree has no PostgreSQL engine: Patroni is measured alone", flush=True)
            kinds.remove(HafailoverPostgresql)
        self.systems = [kind(args.build) for kind in kinds
                        if not args.systems or f"{kind.title}/{kind.engine}".lower() in args.systems
                        or kind.title.lower() in args.systems]

    def profiles(self, system):
        wanted = self.args.profiles or \
            (QUICK_PROFILES[system.title] if self.args.quick else list(system.profiles))
        return [profile for profile in system.profiles
                if profile in wanted or f"{system.title}/{profile}".lower() in wanted]

    def up(self):
        for system in self.systems:
            print(f"  {system.title} ({system.engine}) in {system.run}", flush=True)
            system.up()

    def down(self):
        for system in self.systems:
            try:
                system.down()
            except (LabError, OSError, subprocess.SubprocessError) as error:
                print(f"error: {system.run}: {error}", file=sys.stderr)

    def faults(self):
        for number in range(1, self.args.runs + 1):
            for fault in self.args.faults:
                for system in self.systems:
                    for profile in self.profiles(system):
                        self.one(system, profile, fault, number)

    def calm(self):
        """Round by round, each system at its next profile, until all have had their turn."""
        for turn in range(max(len(self.profiles(system)) for system in self.systems)):
            systems = [system for system in self.systems if turn < len(self.profiles(system))]
            self.calms += calm.measure(systems, lambda one, at=turn: self.profiles(one)[at],
                                       self.args.minutes, self.out)
            self.write()

    def one(self, system, profile, fault, number):
        result = measure.run(system, profile, fault, number)
        self.results.append(result)
        with open(self.out / "runs.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(dataclasses.asdict(result)) + "\n")
        said = result.error or (f"hole {report.ms(result.hole_ms)}, lost {result.lost}, inside "
                                f"{result.isolated}, by two {result.both}")
        print(f"  {number}/{self.args.runs} {system.engine} {measure.FAULTS[fault]}, {system.title} "
              f"{profile}: {said}", flush=True)
        self.write()

    def write(self):
        lines = ["# Side by side", "", *self.head, ""]
        for system in self.systems:
            lines += [f"- {system.title} ({system.engine}): " + "; ".join(
                f"{profile} = {system.profiles[profile]}" for profile in self.profiles(system))]
        lines.append("")
        if self.results:
            lines += ["## Faults", "", *report.faults_markdown(self.results)]
            (self.out / "faults.svg").write_text(report.chart(self.results), encoding="utf-8")
        if self.calms:
            lines += ["## False failovers", "", *calm.markdown(self.calms)]
        if self.costs:
            lines += ["## Idle cost", "", *cost.markdown(self.costs)]
            (self.out / "cost.svg").write_text(cost.chart(self.costs), encoding="utf-8")
        if self.scales:
            lines += ["## Scale", "", *scale.markdown(self.scales)]
        text = "\n".join(lines) + "\n"
        (self.out / "results.md").write_text(text, encoding="utf-8")
        return text


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--out", required=True, help="a folder for tables, chart and raw results")
    parser.add_argument("--quick", action="store_true", help="few runs: does it work?")
    parser.add_argument("--runs", type=int, help=f"of each case ({FULL_RUNS})")
    parser.add_argument("--only", choices=["faults", "calm", "cost", "scale"], action="append",
                        help="part of it; may be said several times")
    parser.add_argument("--minutes", type=float, help="of calm, for each profile (60; quick: 0.5)")
    parser.add_argument("--systems", nargs="+", type=str.lower,
                        help="hafailover sentinel patroni, or hafailover/redis")
    parser.add_argument("--profiles", nargs="+", type=str.lower,
                        help="default fast tight 1000ms, or hafailover/default")
    parser.add_argument("--faults", nargs="+", choices=list(measure.FAULTS),
                        default=list(measure.FAULTS))
    parser.add_argument("--services", nargs="+", type=int, help="how many, for cost and scale")
    args = parser.parse_args()
    args.runs = args.runs or (QUICK_RUNS if args.quick else FULL_RUNS)
    args.minutes = args.minutes or (0.5 if args.quick else 60)
    args.only = args.only or ["faults", "calm", "cost", "scale"]
    args.services = args.services or ([1, 50] if args.quick else [1, 50, 200, 1000])
    return args


def on_signal(number, _):
    raise SystemExit(128 + number)


def main():
    args = parse()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    sweep(args.build)
    bench = Bench(args)
    try:
        if "faults" in args.only or "calm" in args.only:
            bench.up()
            if "faults" in args.only:
                bench.faults()
            if "calm" in args.only:
                bench.calm()
            bench.down()
        if "cost" in args.only:
            for one in cost.measure_all(args.build, args.services, args.systems,
                                        10 if args.quick else 60):
                bench.costs.append(one)
                bench.write()
        if "scale" in args.only:
            for one in scale.measure_all(args.build, args.services):
                bench.scales.append(one)
                bench.write()
    finally:
        bench.down()
        text = bench.write()
    print(text)
    print(f"written to {bench.out}")
    return 1 if any(result.error for result in bench.results) else 0


if __name__ == "__main__":
    sys.exit(main())
