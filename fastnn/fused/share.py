"""How work is shared out between threads."""

from fastnn.fused.vectors import inner


@inner
def share(n, unit, member, members):
    """Return the first and the last of n things for one of the members; whole units."""
    units = (n + unit - 1) // unit
    return (
        min(n, units * member // members * unit),
        min(n, units * (member + 1) // members * unit),
    )
