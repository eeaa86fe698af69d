"""HTCondor: a batch is one cluster of jobs, which are found by their tokens in an attribute."""
