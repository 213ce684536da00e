"""The style of the page, in addition to gradio's own."""

from __future__ import annotations

import gradio as gr

from videorefer_plugin.app.limits import MOST_OBJECTS
from videorefer_plugin.pictures.marks import color_of

__all__ = ["CSS", "theme"]

_CHIPS = "\n".join(
    f".vr-object button.vr-chip-{number} {{ border-left: 10px solid rgb{color_of(number)} !important; }}"
    for number in range(1, MOST_OBJECTS + 1)
)
CSS = f"""
.vr-title {{ font-size: 1.4rem; margin: 0; }}
.vr-head {{ font-size: 1.05rem; margin: .4rem .8rem; }}
.vr-empty {{ margin: .2rem .8rem .8rem; }}
.vr-told {{ min-height: 1.5rem; padding: .1rem .6rem; border-radius: 6px; }}
.vr-fault {{ background: #fdecea; color: #8a1c12; border: 1px solid #8a1c12; }}
.vr-note {{ background: #eef4ff; color: #163a7a; border: 1px solid #163a7a; }}
.vr-progress progress {{ appearance: none; width: 100%; display: block; height: 14px; border: 0; }}
.vr-progress progress::-webkit-progress-bar {{ background: #d4d4d8; border-radius: 4px; }}
.vr-progress progress::-webkit-progress-value {{ background: #1d4ed8; border-radius: 4px; }}
.vr-progress progress::-moz-progress-bar {{ background: #1d4ed8; }}
.vr-strip {{ width: 100%; display: block; }}
.vr-strip rect {{ shape-rendering: crispEdges; }}
.vr-track {{ fill: #e4e4e7; }}
.vr-now {{ stroke: #111; stroke-width: 2px; }}
.vr-mark {{ fill: #111; }}
.dark .vr-track {{ fill: #3f3f46; }}
.dark .vr-now {{ stroke: #fff; }}
.dark .vr-mark {{ fill: #fff; }}
.vr-about {{ padding-left: 1.2rem; margin: 0; list-style: disc; }}
#vr-frame img {{ cursor: crosshair; width: 100%; object-fit: contain; }}
#vr-frame .empty::after {{ content: "No video is open. Drop one above, or take an example."; padding: 0 1rem; }}
#vr-frame .empty {{ flex-direction: column; gap: .5rem; }}
.vr-object {{ gap: 4px !important; padding: 2px 8px; }}
.vr-object button {{ border: 1px solid var(--neutral-400) !important; border-radius: 4px !important; }}
.vr-object button[class*="vr-chip-"] {{ justify-content: flex-start; text-align: left; }}
#vr-chat .placeholder-content {{ padding: 1rem; }}
/* Gradio's own grays are too light to be read. */
.or, .min_value, .max_value {{ color: var(--body-text-color) !important; }}
button:focus-visible, input:focus-visible, textarea:focus-visible {{ outline: 3px solid #1d4ed8 !important; }}
{_CHIPS}
"""


def theme() -> gr.themes.Base:
    """Return a theme with distinct colors, and with fonts that need no download."""
    return gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_text_color="white",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_text_color="white",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_700",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
