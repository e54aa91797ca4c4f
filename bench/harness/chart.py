"""The chart: a group of bars for each scenario, each drawn relative to the base's bar."""

from html import escape

COLOURS = {"ringate": "#e8590c", "nginx": "#2f9e44", "haproxy": "#1c7ed6", "envoy": "#9c36b5", "relay": "#868e96", "before": "#ffc078"}
NAMES = {"ringate": "Ringate", "nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "relay": "bare relay", "before": "before"}
LABELS, SCALE, WIDTH = 310, 110, 980  # pixels: the names' column, one times the base, the whole
LONGEST = (WIDTH - LABELS - 150) / SCALE  # a bar beyond that is cut, its figure has the rest
BAR, GAP = 15, 14

STYLE = """
  svg { font: 12px system-ui, sans-serif }
  .ground { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .line { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .line { stroke: #3d444d }
  }
"""


def bars(results, scenario):
    """Candidate, value, share of it that is user time, how it is written."""
    for name in results.candidates(scenario):
        held = results.median(scenario, name, "idle_bytes")
        if held is not None:
            yield name, max(held, 0), 1.0, f"{held / 1024:.1f} KiB"
        elif scenario == "latency" and (p99 := results.median(scenario, name, "p99_us")) is not None:
            yield name, p99, 1.0, f"p99 {p99:,.0f} µs"
        elif (total := results.median(scenario, name, "total_us")) is not None:
            user = results.median(scenario, name, "user_us")
            yield name, total, user / total if total else 0, f"{total:,.1f} µs"


def draw(results, base, peers):
    shapes, y = [], 74
    for scenario in results.scenarios:
        group = list(bars(results, scenario))
        one = next((value for name, value, *_ in group if name == base), None) or max(
            (value for _, value, *_ in group), default=0
        )
        if not one:
            continue
        middle = y + BAR * len(group) / 2 + 4
        shapes.append(text(LABELS - 12, middle, scenario, "text", 'text-anchor="end" font-weight="600"'))
        for name, value, user, label in group:
            shapes += bar(y, name, value / one, user, label)
            y += BAR
        y += GAP
    height = y + 6
    one = LABELS + SCALE
    shapes.insert(0, f'<line x1="{one}" y1="66" x2="{one}" y2="{height - 14}" class="line" stroke-dasharray="3 3"/>')
    head = [text(16, 24, "CPU time of the proxy for a request", "text", 'font-size="15" font-weight="600"')]
    what = f"{NAMES[base]} = 1 in each group; dark: user, light: system; idle: memory a connection; latency: p99"
    head.append(text(16, 42, what, "faint"))
    x = 16
    for name in peers:
        head.append(f'<rect x="{x}" y="52" width="10" height="10" fill="{COLOURS[name]}"/>')
        head.append(text(x + 15, 61, NAMES[name], "text"))
        x += 95
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="CPU time per request of {escape(", ".join(NAMES[name] for name in peers))}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>\n' + "\n".join(head + shapes) + "\n</svg>\n"
    )


def bar(y, name, times, user, label):
    width = min(times, LONGEST) * SCALE
    dark = width * min(max(user, 0), 1)
    colour = COLOURS[name]
    label += f" · {times:.2f}×" + (" (cut)" if times > LONGEST else "")
    shape = f'y="{y}" height="{BAR - 2}" fill="{colour}"'
    return [
        f'<rect x="{LABELS}" width="{width:.1f}" {shape} opacity="0.45"/>',
        f'<rect x="{LABELS}" width="{dark:.1f}" {shape}/>',
        text(LABELS + width + 6, y + BAR - 4, label, "faint", 'font-size="11"'),
    ]


def text(x, y, words, kind, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" {more}>{escape(words)}</text>'
