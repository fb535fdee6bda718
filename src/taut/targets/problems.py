"""What several checks find, told in one error."""

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from taut._core.errors import InputError

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Problems:
    """Problems with what a user gave, gathered so that they are raised together.

    Args:
        found: those that are known.
    """

    def __init__(self, found: Iterable[str] = ()):
        self.found = list(found)

    def attempt(
        self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
    ) -> Result | None:
        """Return what a function returns; None if it raises an InputError, which is kept."""
        try:
            return function(*args, **kwargs)
        except InputError as error:
            self.found += error.problems
            return None
