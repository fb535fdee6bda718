"""The exceptions a user can meet, each with a sentence that says what to do."""

import difflib
from collections.abc import Iterable, Sequence


class TautError(Exception):
    """Base of every error raised on purpose by Taut."""


class InputError(TautError, ValueError):
    """What the user gave cannot be fitted; all problems found are listed at once.

    Args:
        problems: one sentence, or a sequence of sentences, each saying what is wrong, where, and
            what to write instead.
    """

    def __init__(self, problems: str | Sequence[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        if len(self.problems) == 1:
            text = self.problems[0]
        else:
            count = f"{len(self.problems)} problems:"
            text = "\n".join([count, *(f"  {i}. {p}" for i, p in enumerate(self.problems, 1))])
        super().__init__(text)

    def __reduce__(self):
        return type(self), (self.problems,)


class UnsupportedError(InputError, NotImplementedError):
    """What a guide cannot do; NumPyro raises `NotImplementedError` or `RuntimeError` there."""


class MissingExtraError(TautError, ImportError):
    """An optional library is not installed.

    Args:
        package: the library that is missing.
        extra: the extra of Taut that brings it.
    """

    def __init__(self, package: str, extra: str):
        self.package, self.extra = package, extra
        super().__init__(f"this needs {package}; install it with: pip install 'taut[{extra}]'")

    def __reduce__(self):
        return type(self), (self.package, self.extra)


class UntrustedError(TautError):
    """A fit is less trustworthy than was required of it."""


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return ' (did you mean ...?)' for the nearest candidate, or an empty string."""
    close = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_few(items: Sequence[object], limit: int = 5) -> str:
    """Join the first items with commas and say how many were left out."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"
