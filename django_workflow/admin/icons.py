"""Icons of states: SVG, coloured by class, always beside a word that says the same."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

# Strokes in a box of 16 by 16.
PATHS = {
    "completed": "M3 8.5l3.5 3.5L13 4.5",
    "failed": "M4 4l8 8M12 4l-8 8",
    "canceled": "M8 2.5a5.5 5.5 0 1 0 .01 0M4 12L12 4",
    "canceling": "M8 2.5a5.5 5.5 0 1 0 .01 0M4 12L12 4",
    "paused": "M5.5 3v10M10.5 3v10",
    "waiting": "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5v3.5l2.5 1.5",
    "running": "M5 3l8 5l-8 5z",
}


def icon(mark: str) -> SafeString:
    """The icon of a state."""
    return format_html(
        '<svg class="workflow-icon workflow-is-{}" viewBox="0 0 16 16" aria-hidden="true" focusable="false">'
        '<path d="{}"/></svg>',
        mark,
        PATHS[mark],
    )
