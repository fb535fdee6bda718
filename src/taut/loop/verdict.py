"""Why a fit stopped."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Why the loop stopped, and whether the optimiser had finished.

    Attributes:
        converged: the optimiser reached its own goal. It says nothing about the posterior.
        reason: "converged", "gradients", "evaluations", "budget", "interrupted", "non-finite" or
            "rounding", after which the fit is made again in double precision.
        message: one sentence.
        expected_gap: ELBO in nats expected to be lost by having used finitely many draws.
    """

    converged: bool
    reason: str
    message: str
    expected_gap: float = float("nan")
