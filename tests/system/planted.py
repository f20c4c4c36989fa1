#!/usr/bin/env python3
"""tests/system/planted.py - the judge must see two primaries where nothing prevents them.

The lab's hosts get no gate in the kernel and the service is told to believe in the end of the lease
all the same. A frozen agent can then not stop its database: two take writes, and the stories that
say "never two" would have to fail. If this one fails, they prove nothing.
"""
import sys
import time

import stories
from stories import DATABASES, Failed, expect, main, never_two


class Ungated(stories.Cluster):
    def __init__(self, build):
        super().__init__(build)
        self.env["HAFO_GATE"] = "process"

    def build_up(self):
        self.call("lab_up", deadline_s=180)
        text = self.call("services_conf").replace("rate = any", "rate = any\naccept_process_fence = yes")
        self.services = self.run / "services.conf"
        self.services.write_text(text, encoding="utf-8")
        self.apply(self.services)
        stories.wait_for(lambda: self.service()["state"] == "STEADY", stories.START_DEADLINE_S,
                         "service steady")

    def settled(self):
        return self.service()  # gates are none of its business


def two_are_seen(lab):
    """Its own agent frozen, the old primary goes on beside the new one; the writers show it."""
    old = lab.primary()
    stories.wait_for(lambda: lab.service()["ready"], 15, "a replica that could take over")
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    lab.stop(old, "agent")
    lab.wait_other(old, 20)
    time.sleep(1)
    lab.stop_writers()
    expect(lab.service()["fence"] == "process", "status does not say that only a process fences")
    try:
        never_two(*clients)
    except Failed as seen:
        lab.tell(str(seen)[:150])
        return
    raise Failed(f"the judge saw nothing: {stories.reigns(*clients)[:6]}")


if __name__ == "__main__":
    stories.Cluster = Ungated
    sys.exit(main({"two-are-seen": two_are_seen}))
