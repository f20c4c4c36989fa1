#!/usr/bin/env python3
"""tests/system/webhooks.py - receivers that fail in every way, and leaders that die while they do."""
import contextlib
import json
import os
import random
import sys
import threading
import time

from stories import LabError, MS, address, expect, holes, main, never_two, wait_for

PORT = 8080
BAD = ("hang", "fail", "reset", "redirect", "trickle")
TAKEN = ("good", "huge", "heads")  # 2xx is 2xx, whatever follows it
NOTICE_MS = 2000      # from the kill of a primary to the notice, beside seven bad receivers
HOLE_MS = 4000
RSS_MAX_KIB = 64 << 10  # what a flood of answers may cost
ROUNDS = 24


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def seq(hook):
    return int(hook["json"]["id"].rsplit("-", 1)[1])


def set_modes(lab, modes):
    path = lab.run / "client" / "webhooks.modes"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(modes), encoding="utf-8")
    os.replace(new, path)


def apply_webhooks(lab, urls):
    """The lab's services, with these webhooks in place of its own: {name: url}."""
    text = lab.services.read_text(encoding="utf-8")
    text = text[:text.index("[webhook")]
    for name, url in urls.items():
        text += f"[webhook {name}]\nurl = {url}\nsecret = quickstart\ninsecure = yes\n\n"
    path = lab.run / "webhooks.conf"
    path.write_text(text, encoding="utf-8")
    lab.apply(path)


def own(names):
    return {name: f"http://{address('client')}:{PORT}/{name}" for name in names}


def hooks(lab, name, after, taken=None):
    return [h for h in lab.webhooks() if h["path"] == f"/{name}" and h["boottime_ns"] > after and
            (taken is None or (200 <= h["status"] < 300) == taken)]


def rss_kib(lab, host):
    with open(f"/proc/{lab.pid(host, 'watcher')}/status", encoding="ascii") as file:
        return int(file.read().split("VmRSS:")[1].split()[0])


def expect_whole(lab, name, after, wanted=None):
    """Nothing lost, in order for each service, one id one event; the sequences that came."""
    seen = hooks(lab, name, after, taken=True)
    last, first = {}, {}
    for hook in seen:
        service = hook["json"].get("subject", "")
        expect(seq(hook) >= last.get(service, 0),
               f"/{name}: {seq(hook)} of {service!r} after {last.get(service)}")
        last[service] = seq(hook)
        told = {key: hook["json"].get(key) for key in ("type", "subject", "time", "source")}
        expect(first.setdefault(seq(hook), told) == told, f"/{name}: {seq(hook)} is two events")
    expect(wanted is None or wanted <= set(first),
           f"/{name}: lost {sorted((wanted or set()) - set(first))}")
    return set(first)


def restore(lab):
    set_modes(lab, {})
    lab.apply(lab.services)
    wait_for(lambda: lab.status()["notices_waiting"] == 0, 90, "the outbox is empty")


def receivers(lab):
    """Those that hang, fail, reset, redirect or flood delay neither the others nor a failover."""
    began = now()
    set_modes(lab, {f"/{name}": name for name in BAD + TAKEN})
    apply_webhooks(lab, own(BAD + TAKEN))
    for _ in range(2):
        lab.ctl("webhook", "test", "--wait", "1s")
        before = lab.wait_settled()
        client = lab.writing()
        killed = lab.kill(before["primary"], "database")
        lab.wait_acks(client, killed, but=before["primary"])
        lab.wait_other(before["primary"])
        notice = wait_for(lambda: [h for h in hooks(lab, "good", killed)
                                   if "promoted" in h["json"]["type"]], 20, "the notice")[0]
        lab.stop_writers()
        late = (notice["boottime_ns"] - killed) / MS
        lab.tell(f"without an acknowledgement {holes(client, killed):.0f} ms, notice after "
                 f"{late:.0f} ms")
        expect(holes(client, killed) < HOLE_MS, "receivers delayed a failover")
        expect(late < NOTICE_MS, "receivers delayed a notice of another")
        never_two(client)
        lab.heal()
    time.sleep(12)  # time to do harm: no breaker, and there are hundreds of attempts
    memory = rss_kib(lab, lab.leader())
    for name in BAD:
        tried = hooks(lab, name, began)
        lab.tell(f"{name}: {len(tried)} attempts, {len({seq(h) for h in tried})} notices")
        expect(tried, f"{name} was not tried")
        expect(len(tried) < 60, f"{name} was tried {len(tried)} times")
    for name in TAKEN[1:]:
        counts = [seq(h) for h in hooks(lab, name, began)]
        expect(len(counts) == len(set(counts)), f"/{name} took a notice and got it again: {counts}")
    expect(not hooks(lab, "elsewhere", began), "a redirect was followed")
    lab.tell(f"memory of the leader: {memory} KiB")
    expect(memory < RSS_MAX_KIB, f"memory of the leader: {memory} KiB")
    set_modes(lab, {})
    wait_for(lambda: lab.status()["notices_waiting"] == 0, 90, "the outbox is empty")
    wanted = expect_whole(lab, "good", began)
    wanted -= {seq(h) for h in hooks(lab, "good", began)  # a test goes to one webhook alone
               if h["json"]["type"].endswith(".test")}
    for name in BAD + TAKEN[1:]:
        expect_whole(lab, name, began, wanted)
    restore(lab)


def chatter(lab, stop):
    """Notices without a fault: a pause and its end, at whichever watcher answers."""
    while not stop.is_set():
        lab.ctl("pause", "cache", "--why", "a test")
        lab.ctl("resume", "cache")


def leader_killed(lab):
    """While notices flow the leader dies, again and again, at every step of a delivery."""
    chance = random.Random(os.getpid())
    apply_webhooks(lab, own(("all",)))
    lab.ctl("webhook", "test", "--wait", "1s")
    wait_for(lambda: hooks(lab, "all", 0), 10, "a first notice")
    began = now()
    stop = threading.Event()
    talker = threading.Thread(target=chatter, args=(lab, stop))
    talker.start()
    try:
        for number in range(ROUNDS):
            set_modes(lab, {"/all": "slow" if number % 2 else "good"})
            leader, at = lab.leader(), now()
            wait_for(lambda at=at: hooks(lab, "all", at), 30, "a notice", 0.001)
            time.sleep(chance.choice((0, 0.001, 0.002, 0.004, 0.01, 0.05, 0.15, 0.199, 0.21)))
            with contextlib.suppress(ProcessLookupError, LabError):  # it is down still
                lab.kill(leader, "watcher")
    finally:
        stop.set()
        talker.join()
    set_modes(lab, {})
    lab.ctl("resume", "cache")
    wait_for(lambda: lab.status()["notices_waiting"] == 0, 90, "the outbox is empty")
    seen = expect_whole(lab, "all", began)
    lost = set(range(min(seen), max(seen) + 1)) - seen
    lab.tell(f"{ROUNDS} leaders killed, {len(seen)} notices, "
             f"{len(hooks(lab, 'all', began, taken=True)) - len(seen)} of them again")
    expect(not lost, f"lost: {sorted(lost)}")
    restore(lab)


if __name__ == "__main__":
    sys.exit(main({
        "receivers": receivers,
        "leader-killed": leader_killed,
    }))
