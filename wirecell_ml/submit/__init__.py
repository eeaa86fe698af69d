"""Jobs: where a unit of work can run, what travels with it, and what is known of it."""
