"""Numbers in records of settings."""

from numbers import Real

from fastnn.errors import InputError


def is_number(value: object) -> bool:
    """Tell whether ``value`` is a real number, Python's or NumPy's."""
    return isinstance(value, Real) and not isinstance(value, bool)


def as_python_floats(record: object, *names: str) -> None:
    """Turn fields of a frozen record into Python's floats.

    A NumPy scalar among the hyper-parameters would lift float32 arithmetic to float64.
    """
    for name in names:
        value = getattr(record, name)
        if not is_number(value):
            raise InputError(f"{name} is {value!r}; expected a number")
        object.__setattr__(record, name, float(value))
