"""The workshop of the embedded model: its parts, how it is made, measured and taken apart, and its demonstration."""
