#!/usr/bin/env python3
"""tests/system/full_disk.py - the disk of the primary is full, and later it is not.

Both stories are from chaos runs: that the primary refuses writes was a secret, and an old primary
that could not come back while its disk was full never tried again.
"""
import argparse
import sys

import faults
import stories
from stories import expect, wait_for

TOLD_S = 15
OFTEN = 8
BACK_S = 40  # it is asked each quarter of a minute


def notices(lab, after, word):
    return [one for one in lab.ctl_json("events", "--count", "50")["events"]
            if one["seq"] > after and word in one["text"]]


def told(lab):
    """Redis: a save fails, so it takes no writes. It stays primary by policy, and that is told."""
    before = lab.wait_settled()
    last = max(one["seq"] for one in lab.ctl_json("events")["events"])
    lab.call("disk_fill", before["primary"])
    lab.redis(before["primary"], "bgsave")
    seen = wait_for(lambda: notices(lab, last, "unwritable"), TOLD_S, "a notice of it")[0]
    expect(seen["kind"] == "member-down", f"told as {seen['kind']}")
    lab.call("disk_free", before["primary"])
    lab.redis(before["primary"], "bgsave")
    wait_for(lambda: notices(lab, seen["seq"], ": up"), TOLD_S, "a notice of its end")
    expect(lab.wait_settled()["epoch"] == before["epoch"], "a failover, against the policy")


def comes_back(lab):
    """PostgreSQL: the old primary cannot rewind; with room on its disk it becomes a replica."""
    old = lab.primary()
    lab.hold(old, "agent")
    lab.wait_other(old, 30)
    # Another life of its own, so that following is not enough.
    lab.call("disk_fill", old)
    (lab.run / old / "agent.pid.hold").unlink()
    log = lab.run / old / "agent.log"
    wait_for(lambda: log.read_text(encoding="utf-8").count("No space left") >= OFTEN, 60,
             "it has tried often")
    lab.call("disk_free", old)
    lab.wait_settled(BACK_S)


STORIES = {"redis": {"told": told}, "postgresql": {"comes-back": comes_back}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    args = parser.parse_args()
    print(f"1..{len(STORIES)}", flush=True)
    good = True
    for number, (engine, table) in enumerate(STORIES.items(), 1):
        lab = faults.ChaosLab(args.build, engine, 1)
        try:
            for name, story in table.items():
                good = stories.tell_story(lab, number, name, story) and good
        finally:
            lab.tear_down()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
