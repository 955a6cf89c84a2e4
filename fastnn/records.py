"""Numbers among settings, and the seed."""

from numbers import Real

import numpy as np

from fastnn.errors import InputError


def is_number(value: object) -> bool:
    """Tell whether ``value`` is a real number, Python's or NumPy's, that a float can be near."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        float(value)
    except OverflowError:  # a huge integer
        return False
    return True


def as_python_floats(record: object, *names: str) -> None:
    """Turn fields of a frozen record into Python's floats.

    A NumPy scalar among the hyper-parameters would lift float32 arithmetic to float64.
    """
    for name in names:
        value = getattr(record, name)
        if not is_number(value):
            raise InputError(f"{name} is {value!r}; expected a number")
        object.__setattr__(record, name, float(value))


def generator_from(seed: int | np.random.Generator | None) -> np.random.Generator:
    """Return NumPy's generator for a seed; one that is given is used as it is."""
    if isinstance(seed, np.random.RandomState):
        raise InputError("seed is a RandomState; expected a number or numpy.random.default_rng()")
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputError(f"seed is {seed!r}: {error}") from error
