"""Training recipes that the package ships, named by their path: `videollama2.1-7b/stage2`."""
