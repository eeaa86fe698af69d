"""PanDA: a batch is one JEDI task, whose pseudo-inputs are the tokens of its jobs."""
