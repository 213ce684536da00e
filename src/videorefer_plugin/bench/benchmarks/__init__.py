"""The benchmarks, one file each: how items are read, asked, scored, summarized and reported."""
