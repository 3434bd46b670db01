"""Draws the points that benches/scale/run and benches/scale/days measured, and prints them as tables.

    python3 benches/scale/plot.py FOLDER-OF-JSON FOLDER-OF-SVG
"""

import json
import math
import pathlib
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 60, 150, 30, 50
BLUE, GREY, GREEN, RED, VIOLET = "#1b4f9c", "#8a8a8a", "#2b8a3e", "#b3261e", "#7b3f99"
COLOURS = {"gateway": BLUE, "direct": GREY}


def points(folder, kind):
    """Turns of one kind of point, by cameras and bit rate."""
    turns = []
    for file in folder.glob(f"{kind}-*.json"):
        turns += json.loads(file.read_text())["turns"]
    return sorted(turns, key=lambda t: (t["recorder"], t["cameras"], t["mbps"]))


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def table(turns):
    """One row a point."""
    floors = {(t["cameras"], t["mbps"]): t for t in turns if t["recorder"] == "direct"}
    rows = []
    for t in (t for t in turns if t["recorder"] == "gateway"):
        floor = floors[t["cameras"], t["mbps"]]["cpu_s_per_gb"]
        rows.append([
            f"{t['cameras']:,}", f"{t['mbps']:g}", f"{t['cpu_s_per_gb']:.2f}", f"{floor:.2f}", f"{t['cpu_s_per_gb'] / floor:.2f}",
            f"{t['memory_peak_bytes'] / 1e6 / t['cameras']:.2f}", f"{t['pictures_lost']} of {t['pictures_sent']:,}",
            f"{t['fleet_cpu_s_per_gb']:.2f}",
        ])
    head = ["cameras", "Mb/s each", "CPU s/GB", "direct floor", "of it", "MB a camera", "lost", "fleet CPU s/GB"]
    return markdown(head, rows)


def encrypted_table(folder):
    """Turns with and without encryption, which alternated: medians, least and most."""
    plain, encrypted = points(folder, "plain"), points(folder, "encrypted")
    rows = []
    for cameras in sorted({t["cameras"] for t in plain}):
        of = [[t for t in turns if t["cameras"] == cameras] for turns in (plain, encrypted)]
        costs = [sorted(t["cpu_s_per_gb"] for t in turns) for turns in of]
        medians = [c[len(c) // 2] for c in costs]
        lost, sent = (sum(t[key] for turns in of for t in turns) for key in ("pictures_lost", "pictures_sent"))
        spread = [f"{m:.2f} ({c[0]:.2f} to {c[-1]:.2f})" for m, c in zip(medians, costs)]
        rows.append([f"{cameras:,}", *spread, f"{medians[1] - medians[0]:+.2f}", f"{lost} of {sent:,}"])
    return markdown(["cameras of 4 Mb/s", "CPU s/GB, plain", "encrypted", "more", "lost"], rows) if rows else ""


def days_table(days):
    """One column a size of the index."""
    pair = lambda name: lambda p: f"{p[name + '_ms']:.2f}; {p[name + '_p99_ms']:.2f}"
    rows = [
        ("rows of `segment`, millions", lambda p: f"{p['rows_segment'] / 1e6:.2f}"),
        ("size, GB", lambda p: f"{p['file_bytes'] / 1e9:.2f}"),
        ("bytes a pack", lambda p: f"{p['file_bytes'] / p['rows_pack']:.0f}"),
        ("timeline of a camera's day", pair("timeline_day")),
        ("first packs of a clip: 10 min by time", pair("clip_10min")),
        ("gaps of a day", pair("gaps_day")),
        ("first and last instant of a camera", pair("extent")),
        ("newest 100 events of a camera", pair("events_100")),
        ("hooks of a pack, looked up", pair("hooks_of_pack")),
        ("flush of 400 cameras, median; CPU", lambda p: f"{p['flush_400_ms']:.2f}; {p['flush_400_cpu_ms']:.1f}"),
        ("flush of 1,000 cameras", pair("flush_1000")),
        ("sweep of 1,000 cameras, nothing due", pair("sweep_nothing_due")),
        ("sweep that condemns 1,000 packs", lambda p: f"{p['sweep_condemns_ms']:.0f}"),
        ("sweep that deletes them", lambda p: f"{p['sweep_deletes_ms']:.0f}"),
        ("opening at start, 1,000 cameras", lambda p: f"{p['start_ms']:.0f}"),
        ("the same, cold", lambda p: f"{p['start_cold_ms']:.0f}"),
    ]
    head = ["ms: median; 99th percentile"] + [f"{round(p['days'])} {'day' if round(p['days']) == 1 else 'days'}" for p in days]
    return markdown(head, [[name] + [value(p) for p in days] for name, value in rows])


def panel(lines, x_name, title, by_factors=True, down=0):
    """Lines over an axis that grows by factors, or evenly: name, colour, points."""
    every = [point for _, _, line in lines for point in line]
    place = math.log if by_factors else float
    lowest, highest = (f(place(x) for x, _ in every) for f in (min, max))
    # At most eight steps of 1, 2 or 5.
    most = max(y for _, y in every)
    step = next(s for e in range(-4, 6) for s in (10**e, 2 * 10**e, 5 * 10**e) if most / s <= 8)
    steps = math.ceil(most / step)
    x = lambda v: LEFT + (place(v) - lowest) / (highest - lowest) * (WIDTH - LEFT - RIGHT)
    y = lambda v: down + HEIGHT - BOTTOM - v / (steps * step) * (HEIGHT - TOP - BOTTOM)
    out = [f'<text x="{LEFT}" y="{down + 18}">{title}</text>']
    for i in range(steps + 1):
        v = i * step
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
    for v in sorted({x for x, _ in every}):
        out.append(f'<text x="{x(v):.1f}" y="{down + HEIGHT - BOTTOM + 18}" text-anchor="middle">{v:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{down + HEIGHT - 10}" text-anchor="middle">{x_name}</text>')
    # Names stand beside the ends of their lines, and not on one another.
    names, taken = sorted(lines, key=lambda line: y(line[2][-1][1])), -math.inf
    for name, colour, line in names:
        taken = max(y(line[-1][1]) + 4, taken + 14)
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in line]
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{taken:.1f}" fill="{colour}">{name}</text>')
    return "\n".join(out)


def page(panels):
    """Panels below one another."""
    height = HEIGHT * len(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
    drawn = [panel(*parts, down=i * HEIGHT) for i, parts in enumerate(panels)]
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *drawn, "</svg>", ""])


def days_page(days):
    line = lambda name, colour, of: (name, colour, [(round(p["days"]), of(p)) for p in days])
    questions = [
        line("timeline of a day", BLUE, lambda p: p["timeline_day_ms"]),
        line("timeline of a day, p99", VIOLET, lambda p: p["timeline_day_p99_ms"]),
        line("clip of ten minutes", GREEN, lambda p: p["clip_10min_ms"]),
        line("flush of 400 cameras", RED, lambda p: p["flush_400_ms"]),
    ]
    return page([
        (questions, "days of 1,000 cameras in the index", "Milliseconds, by days"),
        ([line("on disk", BLUE, lambda p: p["file_bytes"] / 1e9)], "days of 1,000 cameras", "Size of the index in GB, by days", False),
    ])


def main():
    measured, drawn = map(pathlib.Path, sys.argv[1:3])
    for kind, x_of, name, title in [
        ("cameras", lambda t: t["cameras"], "cameras of 4 Mb/s", "CPU seconds a GB, by cameras"),
        ("bitrate", lambda t: t["mbps"], "Mb/s of each of 100 cameras", "CPU seconds a GB, by bit rate"),
        ("many", None, None, None),
    ]:
        turns = points(measured, kind)
        if not turns:
            continue
        print(table(turns), end="\n\n")
        if x_of:
            of = lambda recorder: [(x_of(t), t["cpu_s_per_gb"]) for t in turns if t["recorder"] == recorder]
            lines = [(recorder, colour, of(recorder)) for recorder, colour in COLOURS.items()]
            (drawn / f"scale-{kind}.svg").write_text(page([(lines, name, title)]))
    if encrypted := encrypted_table(measured):
        print(encrypted, end="\n\n")
    if (days := measured / "days.json").exists():
        days = json.loads(days.read_text())
        print(days_table(days), end="\n\n")
        (drawn / "scale-days.svg").write_text(days_page(days))


main()
