"""tests/bench/cost.py - what idle watching costs, against the number of services.

Memory is the proportional set size, CPU the time the kernel ran the process, network the bytes both
ways through its host's card; of the processes of one kind the one that costs most is told.
"""
import dataclasses
import json
import pathlib
import subprocess
import time

from models import HafailoverModels, SentinelModels, allow_files
from system import LabError

COLOURS = {"hafailover watcher": "#1b6ca8", "hafailover agent": "#6fb1dd",
           "Sentinel sentinel": "#c0563b"}
SETTLE_S = 10


@dataclasses.dataclass
class Cost:
    system: str
    kind: str
    services: int
    pss_mib: float = 0.0
    cpu: float = 0.0       # per cent of a core
    bytes_s: float = 0.0
    entries_s: float = 0.0  # of the replicated log
    error: str = ""


def pss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def run_ns(pid):
    return sum(int(path.read_text(encoding="ascii").split()[0])
               for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


def card_bytes(lab, host):
    done = subprocess.run(["ip", "-n", f"{lab.name}-{host}", "-s", "-j", "link", "show", "eth0"],
                          capture_output=True, text=True, check=True)
    stats = json.loads(done.stdout)[0]["stats64"]
    return stats["rx"]["bytes"] + stats["tx"]["bytes"]


def look(lab, seconds):
    """[Cost] of each kind of process over so many seconds."""
    watched = [(kind, host, pid) for kind, pairs in lab.watching().items() for host, pid in pairs]
    index = getattr(lab, "log_index", lambda: 0)
    before = {one: (run_ns(one[2]), card_bytes(lab, one[1])) for one in watched}
    entries, began = index(), time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    found = {}
    for one in watched:
        kind, host, pid = one
        cpu = (run_ns(pid) - before[one][0]) / passed / 1e7
        size = (card_bytes(lab, host) - before[one][1]) / passed
        cost = found.setdefault(kind, Cost(lab.title, kind, lab.count))
        cost.pss_mib = round(max(cost.pss_mib, pss_kib(pid) / 1024), 1)
        cost.cpu = round(max(cost.cpu, cpu), 2)
        cost.bytes_s = round(max(cost.bytes_s, size))
    for cost in found.values():
        cost.entries_s = round((index() - entries) / passed, 2) if entries else 0.0
    return list(found.values())


def measure_one(kind, build, count, seconds):
    lab = kind(build, count)
    try:
        lab.up()
        time.sleep(SETTLE_S)
        costs = look(lab, seconds)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        costs = [Cost(lab.title, "-", count, error=" ".join(str(error).split())[:300])]
    finally:
        lab.down()
    for cost in costs:
        print(f"  {cost.services} services, {cost.system} {cost.kind}: " + (cost.error or
              f"{cost.pss_mib} MiB, {cost.cpu} % of a core, {cost.bytes_s / 1024:.1f} KiB/s"),
              flush=True)
    return costs


def measure_all(build, counts, systems, seconds):
    allow_files()
    kinds = [kind for kind in (HafailoverModels, SentinelModels)
             if not systems or kind.title.lower() in systems]
    for count in counts:
        for kind in kinds:
            yield from measure_one(kind, build, count, seconds)


def slope(costs, value):
    """Least squares: how much one service more costs."""
    xs, ys = [cost.services for cost in costs], [getattr(cost, value) for cost in costs]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys)) / spread if spread else 0.0


def kinds_of(costs):
    found = {}
    for cost in costs:
        if not cost.error:
            found.setdefault(f"{cost.system} {cost.kind}", []).append(cost)
    return found


def markdown(costs):
    lines = ["Services of three model members on three hosts; of each kind of process the one that "
             "costs most. An agent is on each database host, a watcher or sentinel on each of three "
             "others.", "",
             "| process | services | memory (PSS) | CPU, % of a core | network | log entries |",
             "| --- | --- | --- | --- | --- | --- |"]
    for name, found in kinds_of(costs).items():
        for cost in found:
            lines.append(f"| {name} | {cost.services} | {cost.pss_mib} MiB | {cost.cpu} | "
                         f"{cost.bytes_s / 1024:.1f} KiB/s | {cost.entries_s}/s |")
    lines += ["", "One service more costs:", "", "| process | memory | CPU, % of a core | network |",
              "| --- | --- | --- | --- |"]
    for name, found in kinds_of(costs).items():
        if len(found) > 1:
            lines.append(f"| {name} | {slope(found, 'pss_mib') * 1024:.1f} KiB | "
                         f"{slope(found, 'cpu'):.4f} | {slope(found, 'bytes_s'):.0f} B/s |")
    lines += [f"- {cost.system}, {cost.services} services: {cost.error}"
              for cost in costs if cost.error]
    return lines + [""]


def panel(costs, value, unit, title, left):
    """One plot of a value, in `unit`s of it, against the number of services."""
    width, height, top = 210, 170, 52
    kinds = kinds_of(costs)
    most_x = max((c.services for found in kinds.values() for c in found), default=1)
    most_y = max((getattr(c, value) for found in kinds.values() for c in found), default=0) or 1
    out = [f'<text x="{left}" y="20" font-weight="bold">{title}</text>',
           f'<path d="M{left} {top} V{top + height} H{left + width}" fill="none" stroke="#888"/>',
           f'<text x="{left + width}" y="{top + height + 14}" text-anchor="end">{most_x} services'
           f'</text><text x="{left}" y="{top - 8}">{most_y / unit:.3g}</text>']
    for name, found in kinds.items():
        colour = COLOURS.get(name, "#888")
        points = [(left + width * c.services / most_x,
                   top + height * (1 - getattr(c, value) / most_y)) for c in found]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{line}" fill="none" stroke-width="2" stroke="{colour}"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return out


def chart(costs):
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="760" height="276" '
           'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>']
    for number, (value, unit, title) in enumerate((("pss_mib", 1, "memory (PSS), MiB"),
                                                   ("cpu", 1, "CPU, % of a core"),
                                                   ("bytes_s", 1024, "network, KiB/s"))):
        out += panel(costs, value, unit, title, 20 + 245 * number)
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = 20 + 200 * number
        out.append(f'<rect x="{x}" y="254" width="12" height="12" fill="{colour}"/>'
                   f'<text x="{x + 18}" y="264">{name}</text>')
    return "\n".join(out + ["</svg>", ""])
