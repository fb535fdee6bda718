"""Guides made from a model, with the names and params of NumPyro's.

A guide is a NumPyro program: it can be run under `numpyro.handlers`, and given to any inference
that takes a guide.
"""

from taut._core.absent import absent
from taut.infer.autoguide.batched import (
    AutoBatchedLowRankMultivariateNormal,
    AutoBatchedMultivariateNormal,
)
from taut.infer.autoguide.bnaf_normal import AutoBNAFNormal
from taut.infer.autoguide.continuous import AutoContinuous
from taut.infer.autoguide.dais import AutoDAIS
from taut.infer.autoguide.delta import AutoDelta
from taut.infer.autoguide.diagonal_normal import AutoDiagonalNormal
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.guide_list import AutoGuideList
from taut.infer.autoguide.iaf_normal import AutoIAFNormal
from taut.infer.autoguide.laplace_approximation import AutoLaplaceApproximation
from taut.infer.autoguide.low_rank_multivariate_normal import AutoLowRankMultivariateNormal
from taut.infer.autoguide.multivariate_normal import AutoMultivariateNormal
from taut.infer.autoguide.normal import AutoNormal
from taut.infer.autoguide.semi_dais import AutoSemiDAIS

__all__ = [
    "AutoBNAFNormal",
    "AutoBatchedLowRankMultivariateNormal",
    "AutoBatchedMultivariateNormal",
    "AutoContinuous",
    "AutoDAIS",
    "AutoDelta",
    "AutoDiagonalNormal",
    "AutoGuide",
    "AutoGuideList",
    "AutoIAFNormal",
    "AutoLaplaceApproximation",
    "AutoLowRankMultivariateNormal",
    "AutoMultivariateNormal",
    "AutoNormal",
    "AutoSemiDAIS",
]

NO_SURROGATE = (
    "AutoSurrogateLikelihoodDAIS is not part of taut.infer.autoguide; for subsampled plates use "
    "AutoSemiDAIS or AutoNormal, for other models AutoDAIS"
)


__getattr__ = absent(__name__, {"AutoSurrogateLikelihoodDAIS": NO_SURROGATE})
