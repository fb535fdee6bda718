"""What came out of a fit: draws of the latent vector and of the model's own variables."""
