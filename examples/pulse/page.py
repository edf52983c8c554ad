"""The board's page. It needs no script and nothing from elsewhere; the browser loads it anew every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from examples.pulse.readings import METRICS

#: Of a curve, in pixels.
WIDTH, HEIGHT = 180, 32

STYLE = """
:root { color-scheme: light dark; --line: #0a7d62; --soft: #8886 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h1 + p, footer { opacity: .75 }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--soft) }
td { font-variant-numeric: tabular-nums } .number { text-align: right }
svg { display: block } polyline { fill: none; stroke: var(--line); stroke-width: 1.5 }
.unusual { color: #c4320a; font-weight: 600 }
"""


def render(summary: dict[str, Any]) -> str:
    """A whole page of a board's summary, or of its `problem`."""
    sources: dict[str, Any] = summary.get("sources", {})
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<meta http-equiv=refresh content=3><title>Pulse</title><style>{STYLE}</style>",
        "<h1>Pulse</h1><p>How the machines of this application are doing.</p>",
    ]
    if "problem" in summary:
        parts.append(f"<p role=alert class=unusual>{escape(str(summary['problem']))}</p>")
    elif not sources:
        parts.append("<p>No sensor has sent anything yet.</p>")
    for source, known in sources.items():
        silent = known["silent_for"]
        parts.append(f"<h2>{escape(source)}</h2>")
        if silent > 10:
            parts.append(f"<p class=unusual>not heard for {silent:.0f} s</p>")
        parts.append(
            "<table><thead><tr><th scope=col>figure<th scope=col class=number>now<th scope=col class=number>mean"
            "<th scope=col class=number>deviation<th scope=col class=number>z-score<th scope=col>last minute</thead>"
        )
        parts += [_row(metric, figures) for metric, figures in known["metrics"].items()]
        parts.append("</table>")
    if summary.get("unusual"):
        parts.append("<h2>Unusual lately</h2><ul>")
        parts += [_unusual(entry) for entry in summary["unusual"][:10]]
        parts.append("</ul>")
    parts.append(f"<footer><p>Board {escape(str(summary['board']))}")
    if "instance" in summary:
        parts.append(f", analyst {escape(str(summary['instance']))}, {summary['samples']} samples")
        parts.append(f", {summary['age']:.0f} s old")
    parts.append("</p></footer></html>")
    return "".join(parts)


def sparkline(values: Sequence[float], label: str) -> str:
    """A small curve as inline SVG, from the lowest value at the bottom to the highest at the top."""
    lowest, highest = min(values), max(values)
    step = WIDTH / max(1, len(values) - 1)
    scale = (HEIGHT - 4) / ((highest - lowest) or 1)
    points = " ".join(f"{i * step:.1f},{HEIGHT - 2 - (value - lowest) * scale:.1f}" for i, value in enumerate(values))
    return (
        f"<svg role=img width={WIDTH} height={HEIGHT} viewBox='0 0 {WIDTH} {HEIGHT}'>"
        f"<title>{escape(label)}</title><polyline points='{points}'/></svg>"
    )


def _row(metric: str, figures: dict[str, Any]) -> str:
    unit = METRICS.get(metric, "")
    label = f"{metric} from {figures['lowest']:.1f} to {figures['highest']:.1f} {unit}".strip()
    mark = " unusual" if figures["unusual"] and abs(figures["z"]) >= 3 else ""
    return (
        f"<tr><th scope=row>{escape(metric)}<td class=number>{figures['newest']:.1f} {unit}"
        f"<td class=number>{figures['mean']:.1f}<td class=number>{figures['deviation']:.1f}"
        f"<td class='number{mark}'>{figures['z']:+.1f}<td>{sparkline(figures['recent'], label)}"
    )


def _unusual(entry: dict[str, Any]) -> str:
    moment = datetime.fromtimestamp(entry["time"], UTC).strftime("%H:%M:%S")
    return (
        f"<li>{moment} UTC: {escape(entry['metric'])} of {escape(entry['source'])} was {entry['value']:.1f} "
        f"(z-score {entry['z']:+.1f})"
    )
