#!/usr/bin/env python3
"""tests/system/care.py - watchers are replaced, lost, recovered and restored; databases never notice more
than they must."""
import subprocess
import sys
import time

from stories import (DATABASES, MS, address, expect, expect_reigns, holes, main, never_two,
                     wait_for)

PORT = 7400
REBUILT = 1_000_000   # epochs of a set that was built anew are above
WAIT_S = 61           # what a rebuilt set waits for promises of the lost one
# Between the entry that ends a set and the kill of a watcher.
STEP_DELAYS_MS = (0, 1, 2, 4, 8, 16, 64, 256)


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def conf(lab, host):
    return lab.run / host / "hafailoverd.conf"


def daemon(lab, host, *args):
    """hafailoverd with a word, on a watcher's own settings; the finished process."""
    return subprocess.run([lab.program("cmd/hafailoverd/hafailoverd"), "-c", str(conf(lab, host)),
                           *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=False)


def name_peers(path, section, names):
    """Make `section` of a settings file name these watchers."""
    lines, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            inside = line == f"[{section}]"
            lines.append(line)
            if inside:
                lines += [f"{name} = {address(name)}:{PORT}" for name in names]
        elif not inside or not line.strip():
            lines.append(line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def watchers_are(lab, *names):
    """From now on the lab is one of these watchers."""
    lab.env["HAFO_WATCHERS"] = " ".join(names)


def power_off(lab, *hosts):
    for host in hosts:
        lab.call("host_down", host)


def machine(lab, host):
    """A new machine with its settings, and an empty data directory."""
    lab.call("host_up", host)
    (lab.run / host / "bootstrapped").touch()


def seats(lab, watcher=None):
    return {w["name"]: w for w in lab.ctl_json("watchers", watcher=watcher)["watchers"]}


def all_reachable(lab, *names, watcher=None):
    found = seats(lab, watcher)
    return sorted(found) == sorted(names) and all(w["reachable"] for w in found.values()) and \
        any(w["role"] == "leader" for w in found.values())


def refused(done, *words):
    expect(done.returncode != 0, f"not refused: {done.stdout.strip()}")
    said = done.stderr + done.stdout
    for word in words:
        expect(word in said, f"'{word}' is not in: {said.strip()}")


def must(done):
    expect(done.returncode == 0, (done.stderr or done.stdout).strip())
    return done.stdout


def backup(lab, watcher, name="backup"):
    path = lab.run / watcher / name
    wait_for(lambda: lab.ctl("backup", str(path), watcher=watcher).returncode == 0, 20, "a backup")
    return path


def replace(lab, old, new, watcher=None):
    return lab.ctl("watchers", "replace", old, "--with", f"{new}={address(new)}:{PORT}",
                   watcher=watcher)


def settled_set(lab, old, new, watcher=None):
    """Replace as soon as the last replacement has settled."""
    wait_for(lambda: replace(lab, old, new, watcher).returncode == 0, 20, f"{new} replaces {old}")


def tell_agents(lab, *names):
    """The new list of watchers to each agent, one after the other."""
    for host in DATABASES:
        name_peers(lab.run / host / "hafailover-agent.conf", "watchers", names)
        lab.kill(host, "agent")
        time.sleep(0.5)
        lab.wait_settled()


def build_anew(lab):
    """The stories here leave other watchers behind."""
    lab.env.pop("HAFO_WATCHERS", None)
    lab.tear_down()
    lab.build_up()


def join(lab, host, seed):
    must(daemon(lab, host, "join", str(seed)))
    lab.call("host_start", host)


def replace_dead(lab):
    """A dead watcher's machine is replaced under a writer: no lease is lost, no role changes."""
    before = lab.wait_settled()
    clients = [lab.writing(), *lab.inside(before["primary"]), *lab.direct(*DATABASES)]
    began = now()
    refused(replace(lab, "w3", "w4"), "still answers")
    power_off(lab, "w3")
    refused(lab.ctl("watchers", "replace", "w3", "--with", "w4"), "Usage")
    watchers_are(lab, "w1", "w2", "w4")
    machine(lab, "w4")
    refused(daemon(lab, "w4", "join", str(backup(lab, "w1", "early"))), "replace OLD --with w4")
    wait_for(lambda: not seats(lab)["w3"]["reachable"], 10, "w3 is gone")
    refused(replace(lab, "w3", "w2"), "is in the set")
    refused(replace(lab, "w9", "w4"), "no watcher of that name")
    settled_set(lab, "w3", "w4")
    refused(replace(lab, "w3", "w4"))  # a step made twice
    seed = wait_for(lambda: "w4" in seats(lab, "w1") and backup(lab, "w1"), 10, "w1 has moved")
    join(lab, "w4", seed)
    refused(daemon(lab, "w4", "join", str(seed)))
    wait_for(lambda: all_reachable(lab, "w1", "w2", "w4"), 20, "w4 takes part")
    for host in ("w1", "w2"):
        name_peers(conf(lab, host), "peers", ("w1", "w2", "w4"))
    tell_agents(lab, "w1", "w2", "w4")
    lab.stop_writers()
    after = lab.wait_settled()
    expect(after["epoch"] == before["epoch"], f"epoch {before['epoch']} to {after['epoch']}")
    expect_reigns([before["primary"]], clients[0])
    never_two(*clients)
    lab.tell(f"longest time without an acknowledgement: {holes(clients[0], began):.0f} ms")
    expect(holes(clients[0], began) < 1000, "the lease was lost")
    keys = int(lab.redis(before["primary"], "dbsize").split()[-1])
    acked = sum(len(c.acks()) for c in clients)
    expect(keys >= acked, f"{keys} keys, {acked} acknowledged writes")
    with_the_new_one(lab)


def with_the_new_one(lab):
    """w4 counts: with w1 gone it holds the lease, and the failover, together with w2."""
    before = lab.wait_settled()
    client = lab.writing()
    wait_for(lambda: all_reachable(lab, "w1", "w2", "w4"), 10, "all are there")
    lab.hold("w1", "watcher")
    time.sleep(4)
    expect(lab.service(watcher="w2")["epoch"] == before["epoch"], "a failover for a watcher")
    expect_reigns([before["primary"]], client)
    killed = lab.kill(before["primary"], "database")
    lab.wait_acks(client, killed, but=before["primary"])
    lab.wait_other(before["primary"])
    lab.heal()
    lab.wait_settled()
    lab.stop_writers()
    never_two(client)


def old_one_returns(lab):
    """A replaced watcher that comes back is told so, ends, and harms nothing."""
    build_anew(lab)
    before = lab.wait_settled()
    power_off(lab, "w3")
    watchers_are(lab, "w1", "w2", "w4")
    machine(lab, "w4")
    settled_set(lab, "w3", "w4")
    client = lab.writing()
    lab.call("host_start", "w3")
    log = lab.run / "w3" / "watcher.log"
    wait_for(lambda: "another watcher has taken" in log.read_text(encoding="utf-8"), 20, "told")
    time.sleep(3)
    expect(sorted(seats(lab)) == ["w1", "w2", "w4"], f"{sorted(seats(lab))}")
    expect(lab.wait_settled()["epoch"] == before["epoch"], "a failover for a ghost")
    lab.call("host_down", "w3")
    join(lab, "w4", backup(lab, "w2"))
    wait_for(lambda: all_reachable(lab, "w1", "w2", "w4"), 20, "w4 takes part")
    # Its place can be given back, under another set: the old directory stays a stranger.
    lab.stop_writers()
    expect_reigns([before["primary"]], client)


def replace_first(lab):
    """The new name changes the rank of the others: agents learn their seats anew, and keep the lease."""
    build_anew(lab)
    before = lab.wait_settled()
    power_off(lab, "w1")
    watchers_are(lab, "w2", "w3", "w4")
    client = lab.writing()
    began = now()
    settled_set(lab, "w1", "w4")
    machine(lab, "w4")
    join(lab, "w4", wait_for(lambda: "w4" in seats(lab, "w2") and backup(lab, "w2"), 10, "moved"))
    wait_for(lambda: all_reachable(lab, "w2", "w3", "w4"), 20, "w4 takes part")
    tell_agents(lab, "w2", "w3", "w4")
    lab.stop_writers()
    expect(lab.wait_settled()["epoch"] == before["epoch"], "a failover for a watcher")
    expect_reigns([before["primary"]], client)
    lab.tell(f"longest time without an acknowledgement: {holes(client, began):.0f} ms")
    expect(holes(client, began) < 1000, "the lease was lost")


def killed_between(lab):
    """A watcher killed at any step of the change is in the set before or in the next, and goes on."""
    build_anew(lab)
    before = lab.wait_settled()
    names = ["w1", "w2"]
    power_off(lab, "w3")
    dead = "w3"
    for number, delay_ms in enumerate(STEP_DELAYS_MS):
        new = f"w{4 + number % 2}"
        leader = lab.leader()
        victim = leader if number % 2 else [n for n in names if n != leader][0]
        asked = subprocess.Popen(
            [lab.program("cmd/hafailoverctl/hafailoverctl"), "--socket",
             str(lab.run / leader / "hafailoverd.sock"), "watchers", "replace", dead, "--with",
             f"{new}={address(new)}:{PORT}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_ms / 1000)
        lab.kill(victim, "watcher")
        asked.wait(20)

        def agreed():
            lists = [sorted(seats(lab, name)) for name in names]
            up = [w["reachable"] for name in names for w in seats(lab, name).values()
                  if w["name"] in names]
            return lists[0] if lists[0] == lists[1] and all(up) and lab.leader() else None
        after = wait_for(agreed, 30, "both are in one set", 0.1)
        lab.tell(f"{victim} killed {delay_ms} ms after the order: {' '.join(after)}")
        dead = [n for n in after if n not in names][0]
        if dead != new:
            # The order may still have been under way when both were asked.
            wait_for(lambda: new in seats(lab, names[0]) or
                     replace(lab, dead, new).returncode == 0, 20, "replaced at last")
            dead = new
        wait_for(lambda: lab.leader() and all(new in seats(lab, n) for n in names), 30, "moved")
        time.sleep(3)  # what was promised before must run out before the next replacement
    service = lab.wait_settled()
    lab.tell(f"epoch {before['epoch']} to {service['epoch']}")
    watchers_are(lab, *names, dead)
    machine(lab, dead)
    join(lab, dead, backup(lab, "w1"))
    wait_for(lambda: all_reachable(lab, *names, dead), 20, f"{dead} takes part")


def recover_one(lab):
    """Two of three are lost for good: one goes on, a failover works, and it is three again."""
    build_anew(lab)
    before = lab.wait_settled()
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    power_off(lab, "w2", "w3")
    watchers_are(lab, "w1")
    refused(daemon(lab, "w1", "recover"), "in use")
    lab.call("unit_stop", "w1", "watcher")
    name_peers(conf(lab, "w1"), "peers", ("w1", "w2"))
    refused(daemon(lab, "w1", "recover"), "--yes-i-have-lost w2,w3")
    refused(daemon(lab, "w1", "recover", "--yes-i-have-lost", "w2"), "--yes-i-have-lost w2,w3")
    refused(daemon(lab, "w1", "recover", "--yes-i-have-lost", "w2,w3"), "still names w2")
    name_peers(conf(lab, "w1"), "peers", ("w1",))
    said = must(daemon(lab, "w1", "recover", "--yes-i-have-lost", "w2,w3"))
    expect("first of a new set" in said, said)
    tell_agents_at_once(lab, "w1")
    lab.call("host_start", "w1")
    time.sleep(2)
    lab.call("unit_stop", "w1", "watcher")  # ends in order while it waits, and waits again
    lab.call("host_start", "w1")
    lab.wait_settled(WAIT_S + 60)
    service = lab.service()
    expect(service["epoch"] > REBUILT, f"epoch {before['epoch']} to {service['epoch']}")
    old = service["primary"]
    killed = lab.kill(old, "database")
    lab.wait_acks(clients[0], killed, but=old)
    lab.wait_other(old)
    lab.heal()
    lab.wait_settled()
    lab.stop_writers()
    for client in clients:
        never_two(client)
    three_again(lab)


def tell_agents_at_once(lab, *names):
    for host in DATABASES:
        name_peers(lab.run / host / "hafailover-agent.conf", "watchers", names)
        lab.kill(host, "agent")


def three_again(lab):
    before = lab.service()
    lab.call("unit_stop", "w1", "watcher")
    name_peers(conf(lab, "w1"), "peers", ("w1", "w4", "w5"))
    must(daemon(lab, "w1", "recover", "--yes-i-have-lost", "none"))
    watchers_are(lab, "w1", "w4", "w5")
    for host in ("w4", "w5"):
        machine(lab, host)
    tell_agents_at_once(lab, "w1", "w4", "w5")
    lab.call("host_start", "w1")
    refused(lab.ctl("backup", str(lab.run / "w1" / "early"), watcher="w1"))
    time.sleep(WAIT_S)
    seed = backup(lab, "w1", "seed")
    for host in ("w4", "w5"):
        join(lab, host, seed)
    wait_for(lambda: all_reachable(lab, "w1", "w4", "w5"), 30, "three again")
    after = lab.wait_settled(60)
    expect(after["epoch"] > before["epoch"], "the epoch went back")
    lab.hold("w1", "watcher")
    time.sleep(4)
    expect(lab.service(watcher="w4")["epoch"] == after["epoch"], "w4 and w5 do not hold it")


def restore_all(lab):
    """All three are destroyed; a backup becomes a new set, and epochs go on above the old ones."""
    build_anew(lab)
    old = lab.wait_settled()["primary"]
    path = backup(lab, "w2", "old")
    # What the backup does not know: another primary, under a later epoch.
    lab.kill(old, "database")
    lab.wait_other(old)
    lab.heal()
    forgotten = lab.wait_settled()
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    for host in ("w1", "w2", "w3"):
        lab.call("unit_stop", host, "watcher", "KILL")
        (lab.run / host / "data").rename(lab.run / host / "lost")
        (lab.run / host / "data").mkdir()
    refused(daemon(lab, "w1", "restore", str(path)), "--yes-all-watchers-are-gone")
    bad_backups(lab, path)
    must(daemon(lab, "w1", "restore", str(path), "--yes-all-watchers-are-gone"))
    refused(daemon(lab, "w1", "restore", str(path), "--yes-all-watchers-are-gone"), "already")
    refused(daemon(lab, "w2", "join", str(path)), "w2")
    lab.call("host_start", "w1")
    time.sleep(WAIT_S)
    seed = backup(lab, "w1", "seed")
    for host in ("w2", "w3"):
        join(lab, host, seed)
    wait_for(lambda: all_reachable(lab, "w1", "w2", "w3"), 30, "three watchers")
    after = lab.wait_settled(60)
    lab.tell(f"epoch {forgotten['epoch']}, forgotten, to {after['epoch']}; primary "
             f"{forgotten['primary']} to {after['primary']}")
    expect(after["epoch"] > REBUILT, "the epoch is not above the forgotten ones")
    lab.wait_acks(clients[0], now())
    lab.stop_writers()
    for client in clients:
        never_two(client)
    killed = after["primary"]
    lab.kill(killed, "database")
    lab.wait_other(killed)
    lab.heal()
    lab.wait_settled()


def bad_backups(lab, path):
    """Cut, changed, foreign, of a later version: refused, with what to do."""
    good = path.read_bytes()
    bad = lab.run / "w1" / "bad"
    for content, words in ((good[:-100], "damaged"), (good[:1000] + b"x" + good[1001:], "damaged"),
                           (b"", "no backup"), (b"#!/bin/sh\n" * 10, "no backup"),
                           (good[:4] + b"\x09" + good[5:], "format 9")):
        bad.write_bytes(content)
        refused(daemon(lab, "w1", "restore", str(bad), "--yes-all-watchers-are-gone"), words)
    text = conf(lab, "w1").read_text(encoding="utf-8")
    conf(lab, "w1").write_text(text.replace("[watcher]", "[watcher]\ncluster = other"),
                               encoding="utf-8")
    refused(daemon(lab, "w1", "restore", str(path), "--yes-all-watchers-are-gone"),
            "another cluster")
    conf(lab, "w1").write_text(text, encoding="utf-8")


def lost_disk(lab):
    """A watcher that lost its disk cannot come back under its name, whatever is tried."""
    build_anew(lab)
    lab.wait_settled()
    wait_for(lambda: lab.service()["ready"], 10, "all have spoken")
    time.sleep(2)
    lab.call("unit_stop", "w3", "watcher", "KILL")
    (lab.run / "w3" / "data").rename(lab.run / "w3" / "lost")
    (lab.run / "w3" / "data").mkdir()
    refused(daemon(lab, "w3", "join", str(backup(lab, "w1"))), "has taken part in this set before")
    log = lab.run / "w3" / "watcher.log"
    lab.call("host_start", "w3")
    wait_for(lambda: "is empty" in log.read_text(encoding="utf-8"), 10, "refused to start")


if __name__ == "__main__":
    sys.exit(main({
        "replace-dead": replace_dead,
        "old-one-returns": old_one_returns,
        "replace-first": replace_first,
        "killed-between": killed_between,
        "recover-one": recover_one,
        "restore-all": restore_all,
        "lost-disk": lost_disk,
    }))
