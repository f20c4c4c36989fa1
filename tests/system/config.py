#!/usr/bin/env python3
"""tests/system/config.py - what operators do: apply, diff, rollback, failover; and who is told."""
import hashlib
import hmac
import re
import subprocess
import sys
import time

import stories
from stories import (CALM_MS, LabError, WATCHERS, expect, expect_reigns, holes, main, never_two,
                     wait_for)

# What is put into a good file, and what the refusal must name.
BAD = (
    ("unknown key", "engine = redis\n", "engine = redis\ncolour = red\n", "colour"),
    ("bad value", "engine = redis\n", "engine = oracle\n", "oracle"),
    ("bad duration", "engine = redis\n", "engine = redis\nlease = 5 apples\n", "lease"),
    ("duplicate key", "engine = redis\n", "engine = redis\nengine = redis\n", "engine"),
    ("member without host", "host = 10.77.0.22\n", "", "host"),
    ("bad address", "vip = 10.77.0.100/24", "vip = 10.77.0.999/24", "vip"),
    ("member of no service", "[member cache/db3]", "[member cash/db3]", "cash"),
    ("strict for Redis", "durability = async\n", "durability = strict\n", "strict"),
    ("quorum below the majority", "engine = redis\n", "engine = redis\nquorum = 1\n", "quorum"),
    ("lease below the heartbeat", "engine = redis\n", "engine = redis\nlease = 200ms\n", "lease"),
)


def apply_text(lab, text):
    path = lab.run / "changed.conf"
    path.write_text(text, encoding="utf-8")
    return lab.told("apply", "-f", str(path))


def refusals(lab):
    """A bad file is refused with file, line and reason, and nothing has changed."""
    good = lab.services.read_text(encoding="utf-8")
    version = lab.status()["config_version"]
    for name, old, new, word in BAD:
        expect(old in good, f"{name}: nothing to spoil")
        done = apply_text(lab, good.replace(old, new, 1))
        said = (done.stderr + done.stdout).strip()
        lab.tell(f"{name}: {said.splitlines()[0] if said else '(nothing)'}")
        expect(done.returncode in (1, 2), f"{name}: exit status {done.returncode}, {said}")
        expect(word in said, f"{name}: the refusal does not name {word}: {said}")
        expect(lab.status()["config_version"] == version, f"{name}: the version has changed")
    for name in ("unknown key", "duplicate key"):
        old, new = next((row[1], row[2]) for row in BAD if row[0] == name)
        said = apply_text(lab, good.replace(old, new, 1)).stderr
        expect(re.search(r"changed\.conf:\d+|line \d+", said), f"{name}: no line number: {said}")


def versions(lab):
    """apply, diff, config history, rollback."""
    good = lab.services.read_text(encoding="utf-8")
    first = lab.status()["config_version"]
    changed = good.replace("engine = redis\n", "engine = redis\ndown_after = 1100ms\n")
    path = lab.run / "changed.conf"
    path.write_text(changed, encoding="utf-8")
    done = lab.ctl("diff", "-f", str(path))
    expect("down_after" in done.stdout, f"diff does not show the change: {done.stdout}")
    done = apply_text(lab, changed)
    expect(done.returncode == 0, f"apply: {done.stderr}")
    second = lab.status()["config_version"]
    expect(second == first + 1, f"version {first} to {second}")
    for watcher in WATCHERS:
        wait_for(lambda w=watcher: lab.status(watcher=w)["config_version"] == second, 5,
                 f"{watcher} has version {second}")
    done = lab.ctl("config", "history")
    expect(done.returncode == 0 and str(second) in done.stdout, f"history: {done.stdout}")
    done = lab.told("rollback", str(first))
    expect(done.returncode == 0, f"rollback: {done.stderr}")
    expect(lab.status()["config_version"] == second + 1, "rollback is not a new version")
    lab.wait_settled()


def started_again(lab):
    """`quickstart` once more leaves alone what was applied, also while the watchers start."""
    good = lab.services.read_text(encoding="utf-8")
    done = apply_text(lab, good.replace("engine = redis\n", "engine = redis\ndown_after = 1200ms\n"))
    expect(done.returncode == 0, f"apply: {done.stderr}")
    version = lab.status()["config_version"]
    for _ in range(3):
        old = lab.pid("w1", "watcher")
        for watcher in WATCHERS:
            lab.kill(watcher, "watcher")
        wait_for(lambda old=old: lab.pid("w1", "watcher") != old, 5, "w1 starts")
        subprocess.run([sys.executable, str(stories.hafolab.HERE / "steady.py"), "--lab", lab.name,
                        "--build", str(lab.build), "--apply", str(lab.services)], check=True,
                       timeout=120)
        expect(lab.status()["config_version"] == version, "it was applied over")
    lab.apply(lab.services)


def removed_and_made_anew(lab):
    """A service that was deleted and comes back by the same name keeps its address in peace."""
    good = lab.services.read_text(encoding="utf-8")
    nothing = good[good.index("[webhook"):].replace("service = cache\n", "")
    done = apply_text(lab, nothing)
    expect(done.returncode == 0, f"apply: {done.stderr}")
    wait_for(lambda: not lab.status()["services"], 20, "it is gone")
    lab.apply(lab.services)
    lab.wait_settled(40)
    said = lab.run / lab.primary() / "agent.log"
    before = said.stat().st_size
    client = lab.writing()
    time.sleep(3)
    lab.wait_acks(client, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    after = said.read_text(encoding="utf-8")[before:]
    expect("address-" not in after, f"its address comes and goes: {after}")
    expect(holes(client) < CALM_MS, f"{holes(client):.0f} ms without an acknowledgement")


def removed_while_away(lab):
    """A member is removed while its agent is cut off: it hears so when it is back."""
    good = lab.services.read_text(encoding="utf-8")
    away = lab.others(lab.primary())[0]
    expect(lab.agent_status(away), "its agent has no service")
    lab.call("cut", away)
    wait_for(lambda: lab.member(away)["verdict"] != "up", 20, "cut off")
    done = apply_text(lab, re.sub(rf"\[member cache/{away}\]\n(?:.+\n)*", "", good))
    expect(done.returncode == 0, done.stderr)
    lab.heal()
    wait_for(lambda: not lab.agent_status(away), 20, "told that it has no service")
    lab.apply(lab.services)
    wait_for(lambda: lab.agent_status(away), 20, "told of it again")
    lab.wait_settled(40)


def members_are_safe(lab):
    """A change that moves the primary behind the lease's back is refused."""
    primary = lab.primary()
    good = lab.services.read_text(encoding="utf-8")
    version = lab.status()["config_version"]
    number = int(primary[-1]) + 20
    without = re.sub(rf"\[member cache/{primary}\]\n(?:.+\n)*", "", good)
    moved = good.replace(f"host = 10.77.0.{number}\n", "host = 10.77.0.99\n")
    for name, text in (("removed", without), ("re-addressed", moved)):
        expect(text != good, f"{name}: nothing was changed")
        done = apply_text(lab, text)
        expect(done.returncode != 0, f"the primary was {name}")
        expect(lab.status()["config_version"] == version, f"{name}: the version has changed")


def switchover(lab):
    """`failover` on request moves the service, and nobody is primary twice."""
    before = lab.wait_settled()
    target = lab.others(before["primary"])[1]
    client = lab.writing()
    done = lab.told("failover", "cache", "--to", target, deadline_s=60)
    expect(done.returncode == 0, f"failover: {done.stderr}{done.stdout}")
    wait_for(lambda: lab.service()["primary"] == target, 20, f"{target} is primary")
    lab.wait_acks(client, time.clock_gettime_ns(time.CLOCK_BOOTTIME), but=before["primary"])
    lab.wait_settled()
    lab.stop_writers()
    expect_reigns([before["primary"], target], client)


def explained(lab):
    """A failover can be read afterwards: history, and why."""
    old = lab.primary()
    lab.kill(old, "database")
    lab.wait_other(old)
    last = max(lab.history(), key=lambda decision: decision["id"])
    expect(last["from"] == old and last["text"], f"not told: {last}")
    done = lab.ctl("explain", str(last["id"]))
    expect(done.returncode == 0 and old in done.stdout, f"explain: {done.stdout}{done.stderr}")
    stages = last["stages_ms"]
    order = [stages[name] for name in ("agreed", "fenced", "promoted", "opened")]
    expect(order == sorted(order), f"stages out of order: {stages}")


def rate_limit(lab):
    """After so many successful failovers only a person starts the next one; status says so.

    What the primary's own agent reports as a crash is never held back: nothing is left to flap."""
    good = lab.services.read_text(encoding="utf-8")
    done = apply_text(lab, good.replace("rate = any", "rate = 1/10min"))
    expect(done.returncode == 0, f"apply: {done.stderr}")
    lab.ctl("lift", "cache")
    old = lab.wait_settled()["primary"]
    lab.kill(old, "database")
    lab.wait_other(old)
    lab.heal()
    held = lab.wait_settled()["primary"]
    lab.stop(held, "database")
    try:
        service = wait_for(lambda: re.search("rate|limit", (seen := lab.service())["why"]) and seen,
                           15, "status says that it is held, and why")
        time.sleep(1)
        lab.tell(f"held: {service['state']}, {service['why']}")
        expect(lab.service()["primary"] in (held, None), "failed over beyond the limit")
        done = lab.told("lift", "cache")
        expect(done.returncode == 0, f"lift: {done.stderr}")
        lab.wait_other(held)
    finally:
        lab.go_on(held, "database")
        lab.apply(lab.services)


def number_of(hook):
    """The sequence number of a notice, wherever it is carried."""
    body = hook["json"]
    for place in (body, body.get("data") or {}):
        for key in ("sequence", "seq"):
            if key in place:
                return int(place[key])
    match = re.search(r"(\d+)$", str(body.get("id", "")))
    if not match:
        raise LabError(f"no sequence in {body}")
    return int(match[1])


def webhooks(lab):
    """While the receiver fails and the leader dies, each notice waits; it arrives, in order."""
    fail = lab.run / "client" / "webhooks.fail"
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    fail.touch()
    old = lab.primary()
    lab.kill(old, "database")
    lab.wait_other(old)
    wait_for(lambda: any(h["status"] == 503 and h["boottime_ns"] > began for h in lab.webhooks()),
             10, "a refused attempt")
    lab.kill(lab.leader(), "watcher")
    time.sleep(1)
    fail.unlink()

    def taken():
        return [h for h in lab.webhooks() if h["status"] == 204 and h["boottime_ns"] > began]

    wait_for(lambda: any("promoted" in h["json"]["type"] for h in taken()), 90, "the notice")
    wait_for(lambda: lab.status()["notices_waiting"] == 0, 60, "the outbox is empty")
    numbers = [number_of(hook) for hook in taken()]
    expect(numbers == sorted(numbers), f"out of order: {numbers}")
    types = {hook["json"]["type"].rsplit(".", 1)[-1] for hook in taken()}
    lab.tell(f"{len(numbers)} notices, {len(set(numbers))} different: {', '.join(sorted(types))}")
    expect(any("failover" in one for one in types), f"the beginning was not told: {types}")


def signatures(lab):
    """Each webhook is signed with the key of its section."""
    key = (lab.run / "webhook.key").read_bytes().strip()
    hooks = lab.webhooks()
    expect(hooks, "no webhook yet")
    for hook in hooks:
        headers = hook["headers"]
        found = [v for k, v in headers.items() if "signature" in k]
        stamps = [v for k, v in headers.items() if "timestamp" in k]
        expect(found and stamps, f"not signed: {sorted(headers)}")
        message = f"{stamps[0]}.{hook['body']}".encode()
        digests = {hmac.new(k, message, hashlib.sha256).hexdigest()
                   for k in (key, bytes.fromhex(key.decode()))}
        expect(any(d in found[0] for d in digests), f"a signature does not match: {found[0]}")


def loaded(lab):
    """Nothing moves while all is well, also under load."""
    before = lab.wait_settled()
    clients = [lab.writer(interval_us=100) for _ in range(4)]
    time.sleep(6)
    lab.stop_writers()
    never_two(*clients)
    expect(lab.service()["epoch"] == before["epoch"], "a failover without a fault")
    lab.tell(f"{sum(len(client.acks()) for client in clients) / 6:.0f} writes a second")


if __name__ == "__main__":
    sys.exit(main({
        "loaded": loaded,
        "refusals": refusals,
        "versions": versions,
        "started-again": started_again,
        "removed-and-made-anew": removed_and_made_anew,
        "removed-while-away": removed_while_away,
        "members-are-safe": members_are_safe,
        "switchover": switchover,
        "explained": explained,
        "rate-limit": rate_limit,
        "webhooks": webhooks,
        "signatures": signatures,
    }))
