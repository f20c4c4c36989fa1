#!/usr/bin/env python3
"""tests/system/planted_chaos.py - a chaos run must fail where something is wrong: planted, one each.

Rounds without a fault, in which the test itself does what the product never may. If one of these
passes as clean, a chaos run that passes proves nothing about that question. Two primaries at once
are planted.py's; states that differ are judge.py's.
"""
import argparse
import contextlib
import json
import sys
import time

import chaos
import faults
import stories
import verdict
from stories import VIP, LabError, wait_for


class Planted(chaos.Round):
    """A calm round; what is planted is a function of the round, before it heals or after."""

    def __init__(self, lab, number, plant):
        super().__init__(lab, 1, number)
        self.plant = plant

    def harm(self):
        time.sleep(0.5)
        self.plant(self)


def nothing(_):
    pass


def lost_write(one):
    """A write is taken away from the primary behind everybody's back."""
    ack = wait_for(lambda: one.writers[0].acks(), 20, "a write")[0]
    one.lab.redis(one.first, "del", f"{one.writers[0].name}:{ack.number}")


def second_answer(one):
    """Another host claims the address, until that can be ordered: where a claim may have been made at
    the same time as another one it proves nothing, and a single one often may."""
    asker = one.lab.popen("w3", [sys.executable, str(chaos.HERE / "ask_arp.py"),
                                 stories.address("client"), VIP])
    try:
        wait_for(lambda: "w3 then " in "".join(verdict.two_answer(
            [one.first], verdict.claims_of(one.lab, one.claims_from))), 10, "claimed by w3 in between")
    finally:
        asker.kill()
        asker.wait()


def lost_notice(one):
    """The receiver answers and forgets."""
    one.lab.ctl("pause", stories.SERVICE, "--why", "a test")
    one.lab.ctl("resume", stories.SERVICE)
    verdict.outbox_empty(one.lab)
    seq = verdict.events_after(one.lab, one.notices)[0]
    log = one.lab.run / "client" / "webhooks.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines()
    with open(log, "r+", encoding="utf-8") as file:  # in place: the receiver appends to it
        file.truncate(0)
        file.writelines(f"{line}\n" for line in lines
                        if not json.loads(json.loads(line)["body"])["id"].endswith(f"-{seq}"))


def never_settled(one):
    """The last fault is not taken back. Nothing else is to be found out by waiting longer."""
    one.liveness_s = 5
    victim = one.lab.others(one.first)[0]

    def missed():
        try:
            one.lab.settled()
        except LabError:
            return True
        return False

    def heal():
        one.lab.hold(victim, "agent")
        wait_for(missed, 15, f"the agent of {victim} is missed")

    one.lab.heal = heal


# name: (what is planted, one of these must be said; none: the round must be clean). A busy machine may
# make another one primary meanwhile, and then a lost write is told otherwise.
TABLE = {
    "nothing": (nothing, ()),
    "a lost write": (lost_write, ("was not deposed", "that were sent after")),
    "a second answer for the address": (second_answer, ("answered for by",)),
    "a lost notice": (lost_notice, ("notices lost",)),
    "never settled": (never_settled, ("not within 5 s: service",)),
}


def said(lab, number, plant):
    one = Planted(lab, number, plant)
    try:
        one.play()
    except LabError as error:
        one.wrong.append(str(error))
    with contextlib.suppress(AttributeError):
        del lab.heal
    return "; ".join(one.wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    args = parser.parse_args()
    print(f"1..{len(TABLE)}", flush=True)
    lab, bad = faults.ChaosLab(args.build, "redis", 1), 0
    try:
        for number, (name, (plant, words)) in enumerate(TABLE.items(), 1):
            seen = said(lab, number, plant)
            good = any(word in seen for word in words) if words else not seen
            print(f"{'ok' if good else 'not ok'} {number} - {name}\n# {seen or 'nothing said'}",
                  flush=True)
            bad += not good
    finally:
        lab.tear_down()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
