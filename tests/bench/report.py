"""tests/bench/report.py - tables as Markdown and a chart as SVG, from the results of runs.

By hand: report.py OUT RUNS.jsonl.. makes both of the runs of several benches.
"""
import html
import json
import math
import pathlib
import statistics
import sys

from measure import FAULTS, Result

COLOURS = {"hafailover": "#1b6ca8", "Sentinel": "#c0563b", "Patroni": "#7a6bb0"}


def percentile(values, share):
    """The value below which `share` of them are: the nearest one that was measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ms(value):
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def times(ratio):
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def most(values, form=str):
    """Median (greatest) of a count."""
    middle = statistics.median(values)
    return f"{form(middle if middle % 1 else int(middle))} ({form(max(values))})"


def groups(results):
    """{(engine, fault): {(system, profile): [result]}}, in the order they were run."""
    found = {}
    for fault in FAULTS:
        for result in results:
            if result.fault == fault:
                found.setdefault((result.engine, fault), {}).setdefault(
                    (result.system, result.profile), []).append(result)
    return dict(sorted(found.items(), key=lambda item: item[0][0] != "redis"))


def base_of(cases):
    """The median that ratios are taken against: hafailover at its defaults."""
    good = [r.hole_ms for r in cases.get(("hafailover", "default"), []) if not r.error]
    return statistics.median(good) if good else None


def row(key, runs, base):
    good = [r for r in runs if not r.error]
    cells = [key[0], key[1], f"{len(good)}"]
    if not good:
        return cells + ["-"] * 9
    holes = [r.hole_ms for r in good]
    middle = statistics.median(holes)
    promoted = [r.promoted_ms for r in good if r.promoted_ms]
    cells += [ms(middle), ms(percentile(holes, 0.95)), ms(max(holes)),
              times(middle / base) if base else "-",
              ms(statistics.median(promoted)) if promoted else "in place",
              most([r.lost for r in good]), most([r.isolated for r in good]),
              most([r.both for r in good]), f"{max(r.both_s for r in good):.1f} s"]
    return cells


def notes(cases):
    for (system, profile), runs in cases.items():
        for count, text in ((sum(bool(r.error) for r in runs), "could not be judged"),
                            (sum(not r.recovered for r in runs), "did not recover in time"),
                            (sum(bool(r.unsettled) for r in runs),
                             "did not come to rest after the fault had ended"),
                            (sum(r.in_place for r in runs), "restarted in place"),
                            (sum(r.extra for r in runs), "changes of primary too many")):
            if count:
                yield f"- {system}, {profile}: {count} {text} (of {len(runs)} runs)"
        for error in sorted({r.error or r.unsettled for r in runs} - {""}):
            yield f"  - {error}"


HEAD = ("system", "profile", "n", "hole: median", "p95", "max", "ratio", "promoted", "lost",
        "lost inside", "by two", "for")


def table(rows, head=HEAD):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(map(str, cells)) + " |" for cells in rows]


def faults_markdown(results):
    lines = ["Hole: longest time between two acknowledged writes of the client. Ratio: its median "
             "against hafailover's at its defaults, of the same bench. Promoted: from the fault until "
             "another member took a write. Lost: acknowledged writes of the client that are not there "
             "afterwards; inside: of a client on the old primary's own host; by two: acknowledged "
             "by the old primary after the new one had begun, and for how long: median (max).", ""]
    for (engine, fault), cases in groups(results).items():
        lines += [f"### {engine}: {FAULTS[fault]}", ""]
        base = base_of(cases)
        lines += table([row(key, runs, base) for key, runs in cases.items()])
        told = list(notes(cases))
        lines += ["", *told, ""] if told else [""]
    return lines


def bars(results):
    """[(heading or None, label, system, median, p95)] of the chart, from top to bottom."""
    found = []
    for (engine, fault), cases in groups(results).items():
        found.append((f"{engine}: {FAULTS[fault]}", "", "", 0, 0))
        for (system, profile), runs in cases.items():
            holes = [r.hole_ms for r in runs if not r.error]
            if holes:
                found.append((None, f"{system}, {profile}", system, statistics.median(holes),
                              percentile(holes, 0.95)))
    return found


def chart(results):
    """Bars of the median hole on a logarithmic scale; the whisker ends at the 95th percentile."""
    left, width, high, low, top = 190, 560, 20, 1.0, 1e5
    rows = bars(results)

    def x(value):
        part = math.log10(max(value, low) / low) / math.log10(top / low)
        return left + width * min(1.0, part)

    height = high * len(rows) + 60
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" '
           f'height="{height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="{left}" y="16">time without an acknowledged write: median, whisker to p95 '
           '(logarithmic)</text>']
    for power in range(6):
        at = x(10.0 ** power)
        out.append(f'<line x1="{at:.1f}" y1="24" x2="{at:.1f}" y2="{height - 24}" stroke="#ddd"/>'
                   f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle">'
                   f'{ms(10.0 ** power).replace(".0 ms", " ms").replace(".00 s", " s")}</text>')
    for number, (heading, label, system, middle, p95) in enumerate(rows):
        y = 28 + high * number
        if heading:
            out.append(f'<text x="8" y="{y + 14}" font-weight="bold">{html.escape(heading)}</text>')
            continue
        end = x(p95)
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{html.escape(label)}</text>'
                   f'<rect x="{left}" y="{y + 3}" width="{max(1.0, x(middle) - left):.1f}" '
                   f'height="13" fill="{COLOURS.get(system, "#888")}"/>'
                   f'<line x1="{x(middle):.1f}" y1="{y + 9.5}" x2="{end:.1f}" y2="{y + 9.5}" '
                   f'stroke="#222"/><text x="{end + 6:.1f}" y="{y + 13}">{ms(middle)}</text>')
    return "\n".join(out + ["</svg>", ""])


def main(out, *files):
    results = [Result(**json.loads(line)) for file in files
               for line in pathlib.Path(file).read_text(encoding="utf-8").splitlines()]
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text("\n".join(faults_markdown(results)) + "\n", encoding="utf-8")
    (folder / "faults.svg").write_text(chart(results), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: report.py OUT RUNS.jsonl..")
    main(*sys.argv[1:])
