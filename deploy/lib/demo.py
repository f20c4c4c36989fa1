#!/usr/bin/env python3
"""deploy/lib/demo.py - kill the primary under a writing client and tell what happened when.

The stages come from the log of the watchers (`hafailoverctl history`), the address from the kernel
of the new host, the writes from the client's own notes. All are milliseconds after the kill.
"""
import argparse
import datetime
import json
import subprocess
import sys
import time

import hafolab

STAGES = (("agreed", "agreed"), ("fenced", "fenced"), ("promoted", "promoted"),
          ("opened", "opened: lease, gate and address are with the new primary"),
          ("done", "the other replicas follow"))


class AddressMonitor:
    """Notes when the kernel of each host says that it has the address now."""

    def __init__(self, lab, vip):
        self.vip = vip
        self.processes = {
            host: subprocess.Popen(["ip", "-n", f"{lab.name}-{host}", "-o", "-ts", "monitor",
                                    "address"], stdout=subprocess.PIPE, text=True)
            for host in hafolab.DATABASES}

    def first_after(self, wall_ns, but):
        """(wall nanoseconds, host) of the first arrival on another host than `but`, or None."""
        found = []
        for host, process in self.processes.items():
            process.terminate()
            for line in process.communicate()[0].splitlines():
                stamp, _, rest = line.partition(" ")
                if host == but or f" {self.vip}/" not in rest or rest.startswith("Deleted"):
                    continue
                moment = datetime.datetime.fromisoformat(stamp.strip("[]")).timestamp()
                if moment * 1e9 > wall_ns:
                    found.append((int(moment * 1e9), host))
        return min(found) if found else None


def decision_after(lab, last_id):
    for decision in lab.history():
        if decision["id"] > last_id and decision["done"]:
            return decision
    raise hafolab.LabError("the failover is not finished")


def promoted_notice(lab, decision):
    for hook in lab.webhooks():
        if hook["status"] == 204 and f'"{decision["to"]}"' in hook["body"] and \
                "promoted" in str(hook["json"].get("type", "")) and \
                hook["wall_ns"] / 1e6 >= decision["noticed_ms"]:
            return hook
    return None


def failover(lab, writer):
    """Kill the primary; everything that is known afterwards."""
    primary = lab.wait_settled()["primary"]
    last_id = max([decision["id"] for decision in lab.history()], default=0)
    hafolab.wait_for(lambda: len(writer.acks()) >= 1000, 20, "a thousand writes")
    monitor = AddressMonitor(lab, hafolab.VIP)
    time.sleep(0.3)  # the monitors have no way to say that they listen
    wall_ns = time.time_ns()
    kill_ns = lab.kill(primary, "database")
    first = hafolab.wait_for(
        lambda: next((a for a in writer.acks() if a.sent > kill_ns and a.server != primary), None),
        30, "a write acknowledged by another primary")
    decision = hafolab.wait_for(lambda: decision_after(lab, last_id), 30, "failover finished")
    notice = hafolab.wait_for(lambda: promoted_notice(lab, decision), 10, "webhook received")
    return {"primary": primary, "wall_ns": wall_ns, "kill_ns": kill_ns, "first": first,
            "decision": decision, "notice": notice, "moved": monitor.first_after(wall_ns, primary)}


def timeline(seen, acks):
    """[(milliseconds after the kill, text)] in order of time."""
    decision, kill_ms = seen["decision"], seen["wall_ns"] / 1e6
    # The log keeps whole milliseconds: what happened within the first one counts as 0.
    noticed = max(0.0, decision["noticed_ms"] - kill_ms)
    rows = [(noticed, f"noticed: {decision['from']} {decision['verdict']}")]
    for key, text in STAGES:
        at = decision["stages_ms"].get(key)
        if at is not None:
            rows.append((noticed + at, text))
    if seen["moved"]:
        rows.append(((seen["moved"][0] - seen["wall_ns"]) / 1e6,
                     f"address moved: {hafolab.VIP} is on {seen['moved'][1]}"))
    rows.append(((seen["first"].answered - seen["kill_ns"]) / 1e6,
                 f"first write acknowledged through {hafolab.VIP}, by {seen['first'].server}"))
    rows.append(((seen["notice"]["wall_ns"] - seen["wall_ns"]) / 1e6, "webhook received"))
    rows.sort(key=lambda row: row[0])
    before = max((a.answered for a in acks if a.answered <= seen["first"].sent), default=0)
    return rows, (seen["first"].answered - before) / 1e6


def show(seen, acks):
    rows, hole_ms = timeline(seen, acks)
    print(f"  {'0.0 ms':>11}  SIGKILL of the primary, {seen['primary']}")
    for at, text in rows:
        print(f"  {'+%.1f ms' % at:>11}  {text}")
    print(f"  between two acknowledged writes: {hole_ms:.1f} ms "
          f"({len(acks)} writes acknowledged in all)")
    print(f"  why: {seen['decision']['text']}")
    print(f"  all of it: ./deploy/quickstart ctl explain {seen['decision']['id']}")
    print("== the webhook's body, as it was received")
    print(seen["notice"]["body"])
    json.loads(seen["notice"]["body"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lab", required=True)
    parser.add_argument("--build", required=True)
    args = parser.parse_args()
    lab = hafolab.Lab(args.lab, args.build)
    writer = hafolab.Writer(lab, f"demo{time.time_ns() // 10**9}", "client")
    try:
        seen = failover(lab, writer)
        time.sleep(0.2)
        writer.stop()
        show(seen, writer.acks())
        print(f"== {seen['primary']} is started again and comes back as a replica")
        lab.call("database_start", seen["primary"])
        lab.wait_settled(30)
        print(lab.ctl("status", "--table").stdout, end="")
    except hafolab.LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        writer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
