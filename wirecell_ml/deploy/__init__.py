"""From a trained network to Wire-Cell's jobs: what C++ loads, what it demands, and what it does with the answer."""
