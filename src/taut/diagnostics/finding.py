"""A diagnostic's number, its threshold, what it means and what to do."""

import dataclasses

# What a reader of a posterior would notice: in sds, and a factor on a sd.
MEAN_ERROR = 0.15
SD_RATIO = 1.25

# Share of the mass that may be amiss: five sds away it changes an sd by a tenth.
HARMLESS_MASS = 0.01


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: short name, such as "k-hat".
        value: the number found; NaN where the check has none.
        threshold: what it was compared with; NaN where there is none.
        level: "good", "note", "doubt" (the draws had to be corrected) or "bad".
        message: one or two sentences a scientist understands.
        advice: what to try; empty when there is nothing to do.
        reference: where the method comes from.
    """

    name: str
    value: float
    threshold: float
    level: str
    message: str
    advice: str = ""
    reference: str = ""
