#!/usr/bin/env python3
"""tests/system/hold.py - on_quorum_loss = hold: agents keep the primary's lease without watchers.

Whatever is cut or killed, nobody acknowledges beside another one; and a primary that all other
agents promise not to replace goes on where no watcher is left.
"""
import json
import sys
import time

import stories
from stories import (DATABASES, MS, WATCHERS, expect, expect_reigns, holes, main, never_two,
                     reigns, wait_for)

LEASE_S = 1.5  # the default


class Held(stories.Cluster):
    def services_text(self):
        return super().call("services_conf").replace("rate = any", "rate = any\non_quorum_loss = hold")

    def call(self, *args, **options):
        if args == ("services_conf",):
            return self.services_text()
        return super().call(*args, **options)

    def settled(self):
        """Only with every promise that would keep the lease."""
        service = super().settled()
        if not service:
            return service
        hold = service["hold"]
        return service if hold["in_force"] and len(hold["promising"]) == 2 else None


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def of_agent(lab, host):
    """What the agent of a host says of its service, whoever else is there."""
    status, body = lab.http(host, "/status", "agent")
    expect(status == 200, f"the agent of {host} answers {status}")
    return json.loads(body)["services"][0]


def holding(lab, host):
    """Whether the agent itself says that its lease rests on agents."""
    return of_agent(lab, host)["hold"]["holding"]


def watchers_gone(lab):
    for watcher in WATCHERS:
        lab.hold(watcher, "watcher")
    return now()


def keeps_writing(lab, client, server, seconds):
    """It acknowledges all the time, and nobody else does."""
    since = now()
    time.sleep(seconds)
    acks = [a for a in client.acks() if a.sent > since]
    expect(acks and acks[-1].answered > now() - 500 * MS, f"{server} stopped to acknowledge")
    expect({a.server for a in acks} == {server}, "another one acknowledged")
    return holes(client, since)


def watchers_killed(lab):
    """All watchers are killed: the primary goes on; then one other agent too: it is fenced."""
    before = lab.wait_settled()
    old = before["primary"]
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    gone = watchers_gone(lab)
    hole = keeps_writing(lab, clients[0], old, 4 * LEASE_S)
    expect(holding(lab, old), "its agent does not say that others hold its lease")
    text = of_agent(lab, old)["text"]
    expect("held by agents" in text, text)
    lab.tell(f"{(now() - gone) / MS:.0f} ms without a watcher, at most {hole:.0f} ms without an "
             f"acknowledgement: {text}")
    # All of them, not most of them: with one gone it ends.
    lost = now()
    lab.hold(lab.others(old)[0], "agent")
    wait_for(lambda: not of_agent(lab, old)["primary"], 5, "it is fenced")
    time.sleep(1)
    late = [a.answered - lost for client in clients for a in client.acks() if a.answered > lost]
    lab.tell(f"fenced {max(late, default=0) / MS:.0f} ms after the other agent was killed")
    expect(max(late, default=0) < (LEASE_S + 0.3) * 1000 * MS, "it acknowledged beyond its lease")
    back = now()
    lab.heal()
    after = lab.wait_settled(40)
    lab.tell(f"settled again {(now() - back) / MS:.0f} ms after the watchers came back")
    lab.stop_writers()
    never_two(*clients)
    if lab.engine == "redis":  # a fenced PostgreSQL is stopped, and another one may be quicker
        expect(after["primary"] == old, f"{after['primary']} took over from {old}")
        expect(after["epoch"] == before["epoch"], "another epoch although nothing was lost")


def short(lab):
    """The same for three leases, and the watchers come back to a primary that never stopped."""
    before = lab.wait_settled()
    old = before["primary"]
    client = lab.writing()
    gone = watchers_gone(lab)
    keeps_writing(lab, client, old, 3 * LEASE_S)
    lab.heal()
    after = lab.wait_settled(40)
    lab.stop_writers()
    expect_reigns([old], client)
    lab.tell(f"longest time without an acknowledgement: {holes(client, gone):.0f} ms")
    expect(after["epoch"] == before["epoch"], "a failover when the watchers came back")


def primary_cut(lab):
    """The watchers are there and the primary's host is cut off: an agent ends its promise first."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    cut = now()
    lab.call("cut", old)
    lab.wait_acks(clients[0], cut, but=old)
    new = lab.wait_other(old)["primary"]
    time.sleep(1)
    seen = expect_reigns([old, new], *clients)
    lab.tell(f"without an acknowledgement outside: {holes(clients[0], cut):.0f} ms; the last one "
             f"inside {(seen[0][2] - cut) / MS:.0f} ms after the cut")
    decision = lab.history()[0]
    expect(decision["fence"] in ("expired", "sealed"), f"fence {decision['fence']}")
    lab.heal()
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)


def cut_through(lab, side, back):
    for host in side:
        for way in ("from", "to"):
            lab.call("cut", host, way, *[h for h in (*WATCHERS, *DATABASES) if h not in side])
    time.sleep(back)


def split(lab):
    """The primary and one agent on one side, the watchers and the other agent on the other."""
    old = lab.primary()
    friend = lab.others(old)[0]
    clients = [lab.writing(), *lab.inside(old), *lab.inside(friend), *lab.direct(*DATABASES)]
    cut_through(lab, {old, friend}, 0)
    other = lab.wait_other(old, 20)["primary"]
    time.sleep(2)
    lab.tell(f"{other} took over; " + "; ".join(f"{r[0]} {r[3]}" for r in reigns(*clients)[:4]))
    lab.heal()
    lab.wait_settled(40)
    lab.stop_writers()
    never_two(*clients)


def alone(lab):
    """All agents on one side, all watchers on the other: nobody can be promoted, one goes on."""
    before = lab.wait_settled()
    old = before["primary"]
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    # The primary last: while another one is still heard, that is a reason to fail over.
    for host in (*lab.others(old), old):
        for way in ("from", "to"):
            lab.call("cut", host, way, *WATCHERS)
    keeps_writing(lab, clients[0], old, 4 * LEASE_S)
    expect(holding(lab, old), "its agent does not say that others hold its lease")
    lab.heal()
    after = lab.wait_settled(40)
    lab.stop_writers()
    expect_reigns([old], *clients)
    expect(after["epoch"] == before["epoch"], "a failover although it never stopped")


def agents_upgraded(lab):
    """Without a watcher, every agent is started anew in its turn: the primary goes on."""
    old = lab.primary()
    client = lab.writing()
    watchers_gone(lab)
    wait_for(lambda: holding(lab, old), 10, "agents hold the lease")
    for host in (*lab.others(old), old):
        pid = lab.pid(host, "agent")
        lab.kill(host, "agent")
        wait_for(lambda host=host, pid=pid: lab.pid(host, "agent") != pid, 10, f"agent of {host}")
        keeps_writing(lab, client, old, 2 * LEASE_S)
    expect(holding(lab, old), "its lease does not rest on agents any more")
    lab.heal()
    lab.wait_settled(40)
    lab.stop_writers()
    expect_reigns([old], client)


def listening(lab):
    """The hosts where an agent listens for others."""
    return {host for host in DATABASES if ":7402 " in lab.on(host, "ss", "-ltnH")}


def switched_off_again(lab):
    """fence is in force once the primary's agent has said so; then the watchers are needed."""
    old = lab.primary()
    expect(listening(lab) == set(DATABASES), "an agent does not listen for the others")
    path = lab.run / "fence.conf"
    path.write_text(lab.services_text().replace("on_quorum_loss = hold", "on_quorum_loss = fence"),
                    encoding="utf-8")
    lab.apply(path)
    wait_for(lambda: lab.service()["hold"] is None, 10, "no agent may keep the lease")
    wait_for(lambda: not listening(lab), 5, "no agent listens for others any more")
    client = lab.writing()
    gone = watchers_gone(lab)
    wait_for(lambda: not of_agent(lab, old)["primary"], 5, "it is fenced")
    time.sleep(1)
    late = max(a.answered - gone for a in client.acks())
    lab.heal()
    lab.apply(lab.services)
    lab.wait_settled(40)
    lab.stop_writers()
    expect(late < (LEASE_S + 0.3) * 1000 * MS, f"it acknowledged {late / MS:.0f} ms later")


if __name__ == "__main__":
    stories.Cluster = Held
    sys.exit(main({
        "short": short,
        "watchers-killed": watchers_killed,
        "primary-cut": primary_cut,
        "split": split,
        "all-watchers-cut-off": alone,
        "agents-upgraded": agents_upgraded,
        "switched-off-again": switched_off_again,
    }))
