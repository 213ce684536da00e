"""Benchmarks, one file each: how items are read, asked, scored, summed up and reported."""
