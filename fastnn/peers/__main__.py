"""``python -m fastnn.peers NAME THREADS``."""

from fastnn.peers import MAKERS, serve

if __name__ == "__main__":
    serve(MAKERS)
