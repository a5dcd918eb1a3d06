"""What all figures share: colours, the page's measures, the mark of simulated cells.

Colours are those of the released plotting code (Okabe-Ito); hatches and markers are added so that a
figure also reads in grey.  Representations are called as in files, tables and prose, where that code
writes RAW and PCA (1D).  Nothing here imports pyplot, so no figure stays open and no global setting
changes: the style is applied while a figure is made and while it is drawn.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable

import matplotlib
from matplotlib.figure import Figure

#: Dots per inch of a picture, and of what an SVG cannot hold as shapes.
DPI, RASTER = 160, 100

#: Representations of the paper, in the order of its legends, with their colours.
COLOURS = {
    "raw": "#0072B2",
    "ENS": "#D55E00",
    "WM": "#009E73",
    "CLS": "#CC79A7",
    "PCA_1": "#E69F00",
    "PCA_2": "#56B4E9",
    "PCA_3": "#F0E442",
    "CNN": "#000000",
}
#: Edges of marks: the same colours, but the palest one darker, since a thin line of it cannot be seen on white.
EDGES = COLOURS | {"PCA_3": "#9A8B00"}
HATCHES = dict(zip(COLOURS, ["", "////", "++++", "xxxx", "\\\\\\\\", "||||", "----", ""], strict=True))
MARKERS = dict(zip(COLOURS, ["o", "s", "D", "v", "^", "P", "X", "*"], strict=True))

#: Heads that take any representation; the CNN stands by itself after the last one.
HEAD_COLUMNS = ("LR", "XGB", "MLP")
PROTOCOLS = {"random": "Random split", "replicate": "Replicate split", "cross": "Cross-experiment split"}
PROTOCOL_COLOURS = {"random": "#3A9BD9", "replicate": "#B38B00", "cross": "#882255"}
PROTOCOL_MARKERS = {"random": "o", "replicate": "s", "cross": "^"}
CONSERVING = ("ENS", "PCA_1", "PCA_2", "PCA_3", "CNN")
POOLED = ("WM", "CLS")

#: Media type of what a figure leaves in a notebook beside its picture.
FIGURE_TYPE = "application/vnd.scarafm.figure+json"

#: Width in inches of a figure that fills the text column of a page, and of one that a telephone shows whole.
PAGE_WIDTH, NARROW_WIDTH = 8.6, 4.9
GREY = "#5A5A5A"
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "scarafm",
    "axes.axisbelow": True,
}


class PageFigure(Figure):
    """A Figure that measures in inches, draws in the book's style and shows itself in a notebook.

    `data` is the table behind it and `made_by` the function that drew it; both, and the figure as SVG,
    go into a notebook's output under `FIGURE_TYPE`, from which the site makes the files to download.
    `remark` is what the caption has to say of this drawing only: a mark or a result that others have not.
    """

    data = None
    made_by = ""
    remark = ""

    def __init__(self, width: float = PAGE_WIDTH, height: float = 3.0, **settings):
        with matplotlib.rc_context(STYLE):
            super().__init__(figsize=(width, height), **settings)

    def panel(self, left: float, top: float, width: float, height: float, **settings):
        """Add axes whose upper left corner lies `left` and `top` inches from that of the figure."""
        total_width, total_height = self.get_size_inches()
        bottom = total_height - top - height
        box = (left / total_width, bottom / total_height, width / total_width, height / total_height)
        with matplotlib.rc_context(STYLE):
            return self.add_axes(box, **settings)

    def note(self, left: float, top: float, text: str, **settings):
        """Write `text` at a place given in inches from the upper left corner."""
        width, height = self.get_size_inches()
        with matplotlib.rc_context(STYLE):
            return self.text(left / width, 1 - top / height, text, **settings)

    def draw(self, renderer):
        with matplotlib.rc_context(STYLE):
            super().draw(renderer)

    def savefig(self, fname, **settings):
        with matplotlib.rc_context(STYLE):
            super().savefig(fname, **settings)

    def _repr_png_(self) -> bytes:
        return figure_bytes(self, "png")

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        svg = figure_bytes(self, "svg").decode()
        found = {"function": self.made_by, "svg": svg, "csv": table_text(self.data), "remark": self.remark}
        return {FIGURE_TYPE: found}


def table_text(table) -> str:
    """A table as CSV, values in their shortest exact form; an index that only counts rows is left out."""
    if table is None:
        return ""
    counts = table.index.names == [None] and table.index.inferred_type == "integer"
    return table.to_csv(index=not counts, lineterminator="\n")


def styled(function):
    """Run a figure function inside the book's style, and keep what drew the figure and from which table.

    That table is the first one given, unless the function has set `data` to what it draws of it.
    """
    import functools

    @functools.wraps(function)
    def inside(*args, **kwargs):
        with matplotlib.rc_context(STYLE):
            figure = function(*args, **kwargs)
        figure.made_by = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        if figure.data is None:
            figure.data = next((v for v in (*args, *kwargs.values()) if hasattr(v, "to_csv")), None)
        return figure

    return inside


def figure_bytes(figure: Figure, format: str, *, dpi: int = DPI) -> bytes:
    """The figure as the bytes of a PNG or SVG file: same figure, same bytes, no date inside.

    Both are kept small, since a site holds hundreds: a PNG has at most 256 colours, an SVG two decimals, and
    the pictures inside an SVG 64 colours and degrees of transparency.
    """
    buffer = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=format, dpi=RASTER if format == "svg" else dpi, metadata=dates.get(format))
    shorten = {"png": _with_palette, "svg": _small_svg}
    return shorten.get(format, bytes)(buffer.getvalue())


def _with_palette(png: bytes, mode: str = "RGB", colours: int = 256) -> bytes:
    """A PNG of few colours; of the methods only the octree knows transparency (``RGBA``)."""
    from PIL import Image

    buffer = io.BytesIO()
    method = Image.Quantize.FASTOCTREE if mode == "RGBA" else Image.Quantize.MEDIANCUT
    picture = Image.open(io.BytesIO(png)).convert(mode).quantize(colours, method=method, dither=Image.Dither.NONE)
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _inner_palette(picture: re.Match) -> str:
    return picture[1] + base64.b64encode(_with_palette(base64.b64decode(picture[2]), "RGBA", 64)).decode()


def _small_svg(svg: bytes) -> bytes:
    """Lines without indentation, coordinates rounded, pictures with a palette; factors of scale are left alone."""
    text = "\n".join(line.strip() for line in svg.decode().splitlines())
    text = re.sub(r'(href="data:image/png;base64,)([^"]+)', _inner_palette, text)
    kept_or_long = r"<!--.*?-->|scale\([^)]*\)|\d+\.\d{3,}"
    return re.sub(kept_or_long, lambda m: f"{float(m[0]):.2f}" if m[0][0].isdigit() else m[0], text).encode()


def mark_simulated(figure: PageFigure, simulated: bool) -> PageFigure:
    """Write 'simulated cells' into the lower left corner, which a phone shows first, where that is what is shown."""
    return corner_mark(figure, "simulated cells" if simulated else "", color="#A03000", gid="watermark")


def corner_mark(figure: PageFigure, text: str, **settings) -> PageFigure:
    """Write whose cells a figure shows into its lower left corner; nothing where `text` is empty."""
    if text:
        style = {"ha": "left", "va": "bottom", "fontsize": 8, "style": "italic", **settings}
        figure.note(0.06, figure.get_size_inches()[1] - 0.04, text, **style)
    return figure


def chance_and_ceiling(ax, *, vertical: bool = False) -> None:
    """A dashed line at 0.5, where a coin stands, and a dotted one at 1, which nothing exceeds."""
    line = ax.axvline if vertical else ax.axhline
    line(0.5, color=GREY, linewidth=0.9, linestyle=(0, (5, 3)), zorder=0.9, gid="chance")
    line(1.0, color="black", linewidth=0.9, linestyle=":", zorder=0.9, gid="ceiling")


#: Why a score can lie below 0.5: where there is something to find, and where the label means nothing.
TURNED = (
    "the classes are ranked the wrong way round, by chance on few test cells or because training and test cells differ"
)
NO_WAY_ROUND = "a label that means nothing has no right way round"


def below_chance(values: Iterable[float], what: str = "results", *, why: str = TURNED) -> str:
    """A sentence for a caption that shows AUROC below 0.5, and `why`; empty where none is.

    >>> below_chance([0.4, 0.8, float("nan")]).partition(":")[0]
    '1 of 2 results lies below 0.5, the score of a coin'
    """
    known = [value for value in values if value == value]
    n = sum(value < 0.5 for value in known)
    if not n:
        return ""
    return f"{n:,} of {len(known):,} {what} {'lies' if n == 1 else 'lie'} below 0.5, the score of a coin: {why}."


def readable_ticks(ax) -> None:
    """At least four ticks along a horizontal axis of values, however short the axis is."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10], min_n_ticks=4))


def spread(n: int, width: float) -> list[float]:
    """Evenly spaced offsets for n points within `width`, the same ones every time.

    >>> spread(3, 0.2)
    [-0.1, 0.0, 0.1]
    """
    return [0.0] if n == 1 else [width * (i / (n - 1) - 0.5) for i in range(n)]


def legend_row(figure: PageFigure, handles: list, *, top: float = 0.06, columns: int | None = None):
    """One legend for the whole figure, in a row at its top."""
    height = figure.get_size_inches()[1]
    return figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - top / height),
        ncols=columns or len(handles),
        columnspacing=1.3,
        handlelength=1.5,
        handletextpad=0.5,
        borderaxespad=0,
    )


def empty_figure(text: str, *, simulated: bool = False) -> PageFigure:
    """A frame with a sentence in it, where a profile holds no results at all for a figure.

    Its table holds that sentence, not the results of something else that the figure was called with.
    """
    import pandas as pd

    figure = PageFigure(PAGE_WIDTH, 1.1)
    figure.data = pd.DataFrame({"missing": [text]})
    ax = figure.panel(0.1, 0.1, PAGE_WIDTH - 0.2, 0.7)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, linestyle=(0, (4, 3)), color="#9A9A9A")
    ax.text(0.5, 0.5, f"n/a: {text}", ha="center", va="center", color=GREY, gid="missing|all")
    return mark_simulated(figure, simulated)
