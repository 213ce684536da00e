"""The workshop of the embedded model: how it is made, measured and taken apart, and its demonstration."""
