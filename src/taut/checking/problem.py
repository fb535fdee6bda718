"""One thing that is wrong with a guide, or worth knowing about it."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a guide or worth knowing, and the line that puts it right.

    Attributes:
        severity: "error" if a fit cannot be right, "warning" if it may go wrong or means something
            else than it seems to, "note" if it is right but does what another library does not.
        kind: a short name of the kind of problem, such as "missing" or "support".
        site: the site, parameter or plate at fault.
        found: what the guide does.
        expected: what it should do.
        fix: the line to write.
    """

    severity: Literal["error", "warning", "note"]
    kind: str
    site: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"{self.found}; {self.expected}. {self.fix}"
