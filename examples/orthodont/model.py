"""Growth of 27 children: every child has a line of its own, drawn from a population of lines.

The distance from the pituitary gland to the pterygomaxillary fissure (in millimetres) was measured
at ages 8, 10, 12 and 14. Age is centred at 11, so `offset` is a child's distance at that age and
`slope` its growth in millimetres a year.

Source of the data: R. F. Potthoff and S. N. Roy (1964), "A generalized multivariate analysis of
variance model useful especially for growth curve problems", Biometrika 51, 313-326, table 1.
"""

import numpy as np
import numpyro
import numpyro.distributions as dist


def model(subject, age, distance=None):
    n_subjects = len(np.unique(subject))

    offset_mean = numpyro.sample("offset_mean", dist.Normal(25.0, 10.0))
    offset_sd = numpyro.sample("offset_sd", dist.HalfNormal(5.0))
    slope_mean = numpyro.sample("slope_mean", dist.Normal(0.0, 2.0))
    slope_sd = numpyro.sample("slope_sd", dist.HalfNormal(1.0))
    residual_sd = numpyro.sample("residual_sd", dist.HalfNormal(5.0))

    with numpyro.plate("subjects", n_subjects):
        offset = numpyro.sample("offset", dist.Normal(offset_mean, offset_sd))
        slope = numpyro.sample("slope", dist.Normal(slope_mean, slope_sd))

    expected = offset[subject] + slope[subject] * (age - 11.0)
    with numpyro.plate("measurements", len(subject)):
        numpyro.sample("distance", dist.Normal(expected, residual_sd), obs=distance)
