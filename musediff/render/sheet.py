"""Several clips -> one picture, their piano-rolls below each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musediff.clip import Clip
from musediff.render.pianoroll import figure


def save_sheet(clips: Sequence[Clip], path: Path) -> None:
    """Write it as a PNG file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.image import imsave

    pictures = []
    for clip in clips:
        canvas = FigureCanvasAgg(figure(clip))
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba()))
    width = max(picture.shape[1] for picture in pictures)
    rows = [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255) for picture in pictures]
    imsave(path, np.concatenate(rows))
