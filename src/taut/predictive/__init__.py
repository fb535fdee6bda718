"""Running a model forwards: prior and posterior predictive draws, and pointwise log likelihoods."""
