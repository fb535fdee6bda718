"""A Matplotlib figure that a notebook can show without pyplot.

Pyplot keeps every figure it makes in a global list and decides when to show it. A plain `Figure`
stays out of that list, but notebooks only know how to show it once pyplot is in use; this one
brings its own picture. Only `plot_style.new_figure` imports this module: it needs Matplotlib.
"""

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A Matplotlib figure, displayed by notebooks as a sharp PNG."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * self.dpi)
        width, height = (int(size) for size in self.get_size_inches() * self.dpi)
        return buffer.getvalue(), {"width": width, "height": height}
