"""``python -m fastnn.peers NAME THREADS``."""

from fastnn.peers import MAKERS, serve

serve(MAKERS)
