"""What a check of a guide found."""

import dataclasses

from taut._core.errors import InputError
from taut.checking.problem import Problem


@dataclasses.dataclass(frozen=True)
class GuideReport:
    """All that was found wrong with a guide.

    Attributes:
        problems: errors first, then warnings, then notes, each in the order of the guide's
            statements.
    """

    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems with which a fit cannot be right."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems with which a fit may go wrong."""
        return tuple(p for p in self.problems if p.severity == "warning")

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is right, but worth knowing."""
        return tuple(p for p in self.problems if p.severity == "note")

    @property
    def ok(self) -> bool:
        """Whether there are no errors; there may be warnings."""
        return not self.errors

    def raise_(self) -> None:
        """Raise one InputError that lists all errors; do nothing if there are none."""
        if self.errors:
            raise InputError([str(p) for p in self.errors])

    def __str__(self) -> str:
        if not self.problems:
            return "the guide fits the model: no problems found"
        groups = {"error": self.errors, "warning": self.warnings, "note": self.notes}
        counts = [_count(len(problems), noun) for noun, problems in groups.items()]
        lines = [", ".join(c for c in counts if c)]
        for number, problem in enumerate(self.problems, 1):
            lines.append(f"{number}. {problem.severity}: {problem.found}")
            lines.append(f"     expected: {problem.expected}")
            lines.append(f"     fix:      {problem.fix}")
        return "\n".join(lines)

    __repr__ = __str__


def _count(number: int, noun: str) -> str:
    return "" if number == 0 else f"{number} {noun}{'s' if number > 1 else ''}"
