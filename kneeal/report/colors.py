"""Colors of settings and grades, the same in figures and on the page."""

import colorsys

from kneeal.report.runs import Runs

#: Okabe and Ito's colors, which the color-blind can tell apart; then each the farthest from all before it in OKLab,
#: among colors that stand out on white and on black.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#9600FF", "#4BE100", "#0F00B4", "#A50069",
    "#FF0FFF", "#006900", "#873C00", "#5A0078", "#FF0069", "#7878FF", "#2D3CFF", "#78D2A5", "#FF87FF", "#784BA5",
    "#C33CC3", "#968700", "#F0A5A5", "#00B400", "#C30F1E", "#5A00C3", "#78002D", "#004B87",
)  # fmt: skip
#: Querying at random, and chance.
GRAY = "#777777"
#: The baseline of all labels.
DARK = "#33383f"
#: KL 0 to 4, from light to dark as the disease goes on (ColorBrewer's OrRd).
GRADES = ("#fdd9a0", "#fdae61", "#f0764a", "#cf3a26", "#7f0000")
#: Grades whose color takes white text.
DARK_GRADES = (3, 4)


def color(k: int) -> str:
    """The color of number k; none repeats."""
    if k < len(COLORS):
        return COLORS[k]
    # Steps of the golden ratio never come back to a hue; two lightnesses tell neighbors apart.
    rgb = colorsys.hls_to_rgb(0.07 + 0.618034 * k % 1, (0.34, 0.55)[k % 2], 0.62)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def setting_colors(runs: Runs) -> dict[str, str]:
    """Color by label: one per strategy, with and without consistency; random is gray and all labels are dark."""
    families: dict[str, str] = {}
    found = {}
    for setting in runs.settings:
        if setting.first.is_baseline:
            found[setting.label] = DARK
        elif setting.first.strategy == "random":
            found[setting.label] = GRAY
        else:
            family = setting.label.replace(" + CR", "", 1)
            found[setting.label] = families.setdefault(family, color(len(families)))
    return found
