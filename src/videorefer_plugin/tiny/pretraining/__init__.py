"""Pretraining of the parts that other models take from published checkpoints."""
