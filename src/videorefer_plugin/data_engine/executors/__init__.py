"""Executors, which run agents in processes of this machine or on a Ray cluster."""
