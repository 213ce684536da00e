"""Training recipes that come with the package, named by their coordinates: `videollama2.1-7b/stage2`."""
