"""The data engine: five agents that turn videos with captions into object-level data (paper, section 3.1)."""
