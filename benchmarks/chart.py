"""The chart of the results: bars as SVG, readable on light and on dark."""

from collections.abc import Sequence
from html import escape
from statistics import median

from benchmarks.report import Record, cpu_per, is_saturated, select
from benchmarks.scenarios import SCENARIOS, Kind, Scenario
from benchmarks.subjects import SUBJECTS

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP = 760, 250, 150, 16, 8
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.note { fill: #59636e }
.server { fill: #2f6fde }
.other { fill: #8c959f }
.store { fill: #e3964a }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .server { fill: #5b96f5 }
  .other { fill: #6e7681 }
  .store { fill: #d98a3d }
}
"""


def draw_chart(records: Sequence[Record]) -> str:
    """CPU time for each token: a group of bars for each scenario with streams, the subject's and its stores'."""
    parts: list[str] = []
    y = 24
    for scenario in SCENARIOS:
        if scenario.kind is Kind.STREAMS and not scenario.optional:
            y = _draw_group(parts, records, scenario, y)
    parts.append(_text(8, y, "note", "CPU µs per token; orange: PostgreSQL and Valkey. Less is better."))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 14}" role="img">'
    return "\n".join([head, "<title>CPU time for each token</title>", f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _draw_group(parts: list[str], records: Sequence[Record], scenario: Scenario, y: int) -> int:
    bars = []
    for subject in SUBJECTS:
        figures = [f for f in select(records, subject.name, scenario.name) if f.get("tokens")]
        if figures:
            own = _middle([cpu_per("tokens", "server")(f) for f in figures])
            stores = sum(_middle([cpu_per("tokens", s)(f) for f in figures]) for s in ("postgres", "valkey"))
            late = any(map(is_saturated, figures)) or any(f["ok"] < f["clients"] for f in figures)
            bars.append((subject, own, stores, late))
    if not bars:
        return y
    scale = (_WIDTH - _LEFT - _RIGHT) / max(own + stores for _, own, stores, _ in bars)
    parts.append(_text(8, y, "title", scenario.title))
    y += _GAP
    for subject, own, stores, late in bars:
        kind = "server" if subject.postgres else "other"
        label = f"{own:.1f}" + (f" + {stores:.1f}" if stores else "") + (" (not in time)" if late else "")
        parts.append(_text(8, y + 13, "", subject.title))
        parts.append(_bar(_LEFT, y, own * scale, kind))
        parts.append(_bar(_LEFT + own * scale, y, stores * scale, "store"))
        parts.append(_text(_LEFT + (own + stores) * scale + 6, y + 13, "", label))
        y += _BAR + _GAP
    return y + 24


def _middle(values: Sequence[float | None]) -> float:
    present = [value for value in values if value is not None]
    return median(present) if present else 0.0


def _bar(x: float, y: float, width: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"/>'


def _text(x: float, y: float, kind: str, words: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(words)}</text>'
