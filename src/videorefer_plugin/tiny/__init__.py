"""Tools for the embedded model: its parts, training, measurement, ablations and demonstration."""
