"""Pictures of programs: what they sample, what depends on what, and which plates there are."""
