"""Fitting a guide that is a function of the user's, with nothing to choose."""

from typing import Any

import numpy as np

from taut._core.errors import InputError, first_few
from taut.guides.program import ProgramGuide
from taut.infer.guide_program import JUDGED, PARTICLES, GuideProgram
from taut.loop.adam import BLOCK, AutomaticAdam, Block
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.stages import Outcome
from taut.loop.verdict import Verdict

TOLERANCE = 0.01

ROUNDING_ALLOWED = 0.05
"""Nats of rounding in one log density that call for double precision."""

SUMMARY_DRAWS = 4096
"""Draws behind the mean and the spread of a guide."""

NARROW = 100.0
"""A spread of fewer units in the last place of its mean is not resolved."""


class ProgramSearch:
    """Fits a guide function: the race of step sizes, then draws.

    Args:
        program: the guide and its model, compiled.
        monitor: counts gradients and keeps the time.
        seed: where all random numbers come from.

    Raises:
        InputError: the guide is a point and no distribution.
    """

    def __init__(self, program: GuideProgram, monitor: Monitor, seed: int):
        self._program, self._monitor, self._seed = program, monitor, seed
        self.starts, self.found, self.settled_loss = 1, (), np.inf
        self._start = program.start(seed)
        self._refuse_points()

    def run(self) -> Outcome:
        """Fit.

        Raises:
            OutOfTime: the budget is spent; the monitor has the best so far.
        """
        if not self._start:
            nothing = Verdict(True, "converged", "the guide has no parameters to fit")
            return Outcome(self.fallback(), nothing)
        program = self._program
        with program.precision():
            adam = AutomaticAdam(program.block, program.weights, TOLERANCE, self._seed, self._watch)
            try:
                best, verdict = adam.run(self._start)
            except (OutOfTime, KeyboardInterrupt):
                if adam.best is not None:
                    self._monitor.best = self._fitted(adam.best.params)
                raise
        self.settled_loss = -best.elbo
        return Outcome(self._fitted(best.params), verdict)

    def fallback(self) -> ProgramGuide:
        """Return the guide at its first parameters, for a fit stopped before it began."""
        return self._fitted(self._start)

    def needs_double(self, outcome: Outcome) -> str:
        """Say why single precision was not enough, or return an empty string."""
        resolution = float(np.finfo(self._program.dtype).eps)
        if self._program.dtype == np.float64 or outcome.verdict.reason in ("budget", "interrupted"):
            return ""
        guide = outcome.guide
        if not np.all(guide.scale > NARROW * resolution * np.abs(guide.loc)):
            return "the spread of the guide is lost in rounding"
        if self._start and not np.isfinite(self.settled_loss):
            return "the ELBO is not finite"
        if self._start and 4.0 * resolution * abs(self.settled_loss) > ROUNDING_ALLOWED:
            return f"a log density of size {abs(self.settled_loss):.1g} is rounded too much"
        return ""

    def _fitted(self, raw: dict[str, Any]) -> ProgramGuide:
        """Make a guide of unconstrained parameters, with what is needed to draw from it."""

        def sampler(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            return self._program.draw(raw, seed, count)

        z, _ = sampler(self._seed, SUMMARY_DRAWS)
        # Where a map became flat, or a draw underflowed, there is no latent value.
        sound = z[np.isfinite(z).all(axis=1)]
        z = sound if len(sound) else np.zeros_like(z)
        params, density = self._program.params(raw), self._program.density(raw)
        return ProgramGuide(params, z.mean(axis=0), z.std(axis=0), sampler, density)

    def _refuse_points(self) -> None:
        z, _ = self._program.draw(self._start, self._seed, SUMMARY_DRAWS)
        names = self._program.target.program.coordinate_names()
        points = [n for n, same in zip(names, (z == z[0]).all(axis=0), strict=True) if same]
        if points:
            raise InputError(
                f"the guide gives {first_few(points)} the same value in every draw: a point and "
                "no distribution, whose fit cannot be checked. Draw them from a distribution, or "
                "fit the point with taut.infer.SVI"
            )

    def _watch(self, block: Block) -> None:
        self._monitor.note(BLOCK * PARTICLES, -block.elbo, f"adam {block.rate:g}", JUDGED)
