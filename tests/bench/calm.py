"""tests/bench/calm.py - nothing is broken, but the machine is busy: who fails over all the same?"""
import dataclasses
import subprocess
import time

from measure import hole_ms
from system import LabError, now_ns, wait_for

HOGS, DISK_WRITERS = 8, 2
HOG = "while :; do :; done"
FILL = "while :; do dd if=/dev/zero of={path} bs=1M count=256 conv=fdatasync status=none; done"


@dataclasses.dataclass
class Calm:
    system: str
    engine: str
    profile: str
    minutes: float
    failovers: int = 0
    hole_ms: float = 0.0
    error: str = ""


def start_load(folder):
    """Shells in groups of their own, so that each ends with what it runs."""
    commands = [HOG] * HOGS + [FILL.format(path=folder / f"fill{i}") for i in range(DISK_WRITERS)]
    return [subprocess.Popen(["setsid", "sh", "-c", command], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for command in commands]


def stop_load(processes, folder):
    for process in processes:
        subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=False,
                       stderr=subprocess.DEVNULL)
        process.wait()
    for path in folder.glob("fill*"):
        path.unlink()


def measure(systems, profile_of, minutes, folder):
    """All systems at once under one load, each with a client; [Calm]."""
    found, load = [], []
    for system in systems:
        system.use(profile_of(system))
        system.forget(system.wait_primary())
        client = system.client("client", system.main_client())
        found.append((system, client, system.failovers(),
                      Calm(system.title, system.engine, profile_of(system), minutes)))
    try:
        for _, client, _, _ in found:
            wait_for(lambda asked=client: len(asked.acks()) > 100, 30, "clients write")
        began = now_ns()
        load = start_load(folder)
        time.sleep(minutes * 60)
    finally:
        stop_load(load, folder)
    for system, client, before, calm in found:
        try:
            calm.hole_ms = round(hole_ms(client.acks(), began) or minutes * 6e4, 1)
            system.wait_primary()
            calm.failovers = system.failovers() - before
        except LabError as error:
            calm.error = str(error)[:300]
        system.stop_clients()
        print(f"  {calm.system} ({calm.engine}) {calm.profile}: {calm.failovers} changes of primary "
              f"in {minutes:g} min {calm.error}", flush=True)
    return [one[3] for one in found]


def markdown(calms):
    lines = [f"No fault but {HOGS} CPU hogs and {DISK_WRITERS} disk writers, all systems at once: every "
             "change of primary is a false one.", "",
             "| system | engine | profile | minutes | changes of primary | longest hole |",
             "| --- | --- | --- | --- | --- | --- |"]
    for c in calms:
        lines.append(f"| {c.system} | {c.engine} | {c.profile} | {c.minutes:g} | "
                     f"{c.error or c.failovers} | {c.hole_ms:.0f} ms |")
    return lines + [""]
