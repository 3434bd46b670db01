"""Draws the points that benches/scale/run measured, and prints them as tables.

    python3 benches/scale/plot.py FOLDER-OF-JSON FOLDER-OF-SVG
"""

import json
import math
import pathlib
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 60, 110, 30, 50
COLOURS = {"gateway": "#1b4f9c", "floor": "#8a8a8a"}


def points(folder, kind):
    """Turns of one kind of point, by cameras and bit rate."""
    turns = []
    for file in folder.glob(f"{kind}-*.json"):
        turns += json.loads(file.read_text())["turns"]
    return sorted(turns, key=lambda t: (t["recorder"], t["cameras"], t["mbps"]))


def table(turns):
    """A table in Markdown: one row a point."""
    lines = ["| cameras | Mb/s each | CPU s/GB | floor | of floor | MB a camera | lost | fleet CPU s/GB |", "|---" * 8 + "|"]
    floors = {(t["cameras"], t["mbps"]): t for t in turns if t["recorder"] == "floor"}
    for t in (t for t in turns if t["recorder"] == "gateway"):
        floor = floors[t["cameras"], t["mbps"]]["cpu_s_per_gb"]
        cells = [
            str(t["cameras"]), f"{t['mbps']:g}", f"{t['cpu_s_per_gb']:.2f}", f"{floor:.2f}", f"{t['cpu_s_per_gb'] / floor:.2f}",
            f"{t['memory_peak_bytes'] / 1e6 / t['cameras']:.2f}", f"{t['pictures_lost']} of {t['pictures_sent']:,}",
            f"{t['fleet_cpu_s_per_gb']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(turns, x_of, x_name, title):
    """CPU seconds a GB over `x_of`, which grows by factors."""
    lowest, highest = (f(math.log(x_of(t)) for t in turns) for f in (min, max))
    top = math.ceil(max(t["cpu_s_per_gb"] for t in turns))
    x = lambda v: LEFT + (math.log(v) - lowest) / (highest - lowest) * (WIDTH - LEFT - RIGHT)
    y = lambda v: HEIGHT - BOTTOM - v / top * (HEIGHT - TOP - BOTTOM)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><text x="{LEFT}" y="18">{title}</text>',
    ]
    for i in range(2 * top + 1):
        v = i / 2
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
    for v in sorted({x_of(t) for t in turns}):
        out.append(f'<text x="{x(v):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{v:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{x_name}</text>')
    for recorder, colour in COLOURS.items():
        line = sorted((x_of(t), t["cpu_s_per_gb"]) for t in turns if t["recorder"] == recorder)
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in line]
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y(line[-1][1]) + 4:.1f}" fill="{colour}">{recorder}</text>')
    return "\n".join(out + ["</svg>", ""])


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
            (drawn / f"scale-{kind}.svg").write_text(plot(turns, x_of, name, title))


main()
