"""Pictures of what was trained; needs matplotlib (``pip install 'fastnn[plot]'``).

Figures are made without pyplot, so nothing global changes and no window opens. A new figure shows
itself in a notebook; each function draws into given axes as well.
"""

from fastnn.plot.classes import calibration_curve, confusion_matrix
from fastnn.plot.figures import check, save
from fastnn.plot.layers import weights
from fastnn.plot.progress import curves
from fastnn.plot.report import training_report

__all__ = [
    "calibration_curve",
    "check",
    "confusion_matrix",
    "curves",
    "save",
    "training_report",
    "weights",
]
