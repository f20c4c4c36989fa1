#!/usr/bin/env python3
"""tests/system/chaos.py - faults by chance, alone and in pairs, under writers on all sides.

A replica promoted by hand is not among them: its clients are heard until its short deadline, which
agent.py measures. Each round: a settled cluster, writers inside and outside, one or two faults for a while, healing, and
the judgement: whoever acknowledged must have done so in the order in which the log made them primary.
The seed is told first; the same seed injects the same faults, though not at the same instants.
"""
import argparse
import os
import random
import sys
import time

import stories
from stories import (DATABASES, LabError, MS, WATCHERS, Failed, expect, holes, lab_of, reigns,
                     show_logs)

ROUND_S = 6


def fault_table(lab, chance):
    """[(name, function)]; targets are drawn when the table is made."""
    primary = lab.primary()
    replica = chance.choice(lab.others(primary))
    leader = lab.leader()
    watcher = chance.choice(WATCHERS)
    any_host = chance.choice((*WATCHERS, *DATABASES))
    return [
        (f"kill {primary}", lambda: lab.kill(primary, "database")),
        (f"stop {primary}", lambda: lab.stop(primary, "database")),
        (f"empty {primary}", lambda: lab.call("database_empty", primary)),
        (f"kill {replica}", lambda: lab.kill(replica, "database")),
        (f"stop {replica}", lambda: lab.stop(replica, "database")),
        (f"kill agent {primary}", lambda: lab.kill(primary, "agent")),
        (f"stop agent {primary}", lambda: lab.stop(primary, "agent")),
        (f"hold agent {primary}", lambda: lab.hold(primary, "agent")),
        (f"stop agent {replica}", lambda: lab.stop(replica, "agent")),
        (f"kill leader {leader}", lambda: lab.kill(leader, "watcher")),
        (f"stop leader {leader}", lambda: lab.stop(leader, "watcher")),
        (f"hold watcher {watcher}", lambda: lab.hold(watcher, "watcher")),
        (f"cut {primary}", lambda: lab.call("cut", primary)),
        (f"cut {primary} from all", lambda: lab.call("cut", primary, "from")),
        (f"cut {primary} to all", lambda: lab.call("cut", primary, "to")),
        (f"cut {primary} from watchers", lambda: lab.call("cut", primary, "from", *WATCHERS)),
        (f"cut {any_host}", lambda: lab.call("cut", any_host)),
        (f"cut leader {leader}", lambda: lab.call("cut", leader)),
        (f"reboot {primary}", lambda: (lab.call("host_down", primary),
                                       lab.call("host_start", primary))),
        (f"flush rules of {primary}", lambda: lab.on(primary, "nft", "flush", "ruleset")),
    ]


def is_subsequence(order, made):
    rest = iter(made)
    return all(any(name == other for other in rest) for name in order)


def judge(lab, first, last_id, clients):
    """Reigns must be a subsequence of the primaries the log made, in its order."""
    made = [first] + [d["to"] for d in sorted(lab.history(), key=lambda d: d["id"])
                      if d["id"] > last_id and d["to"] and "opened" in d["stages_ms"]]
    order = [reign[0] for reign in reigns(*clients)]
    expect(is_subsequence(order, made),
           f"acknowledged by {' then '.join(order[:20])}; primaries were {' then '.join(made)}")
    return made


def one_round(lab, chance):
    stories.ready(lab)
    faults = fault_table(lab, chance)
    drawn = chance.sample(faults, chance.choice((1, 1, 2)))
    pauses = [chance.uniform(0, 1.5) for _ in drawn]
    held_s = chance.uniform(0.3, ROUND_S)
    first = lab.primary()
    last_id = max((d["id"] for d in lab.history()), default=0)
    clients = [lab.writing(), *lab.inside(first), *lab.direct(*DATABASES)]
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    names = []
    for (name, inject), pause in zip(drawn, pauses):
        names.append(name)
        try:
            inject()
        except (LabError, OSError):
            names[-1] += " (was gone already)"
        time.sleep(pause)
    time.sleep(held_s)
    lab.tell(f"{' and '.join(names)}, {held_s:.1f} s")
    lab.heal()
    lab.wait_settled(60)
    lab.stop_writers()
    made = judge(lab, first, last_id, clients)
    lab.tell(f"{' then '.join(made)}, {holes(clients[0], began):.0f} ms without an acknowledgement")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("HAFO_ROUNDS", "60")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("HAFO_SEED", "0")))
    args = parser.parse_args()
    seed = args.seed or time.time_ns() // MS % 1_000_000
    print(f"1..{args.rounds}\n# seed {seed}", flush=True)
    chance, bad = random.Random(seed), 0
    with lab_of(args.build) as lab:
        for number in range(1, args.rounds + 1):
            try:
                one_round(lab, chance)
                print(f"ok {number} - round {number}", flush=True)
            except (Failed, LabError, OSError) as error:
                bad += 1
                print(f"not ok {number} - round {number}\n# {error}", flush=True)
                show_logs(lab)
                lab.stop_writers()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
