"""The agents, with one file for each of their backends."""
