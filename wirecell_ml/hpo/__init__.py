"""Sweeps: a search space becomes trials, trials become jobs, and each ends exactly once."""
