"""Models for current transformers: the VideoLLaMA2.1 host and VideoRefer on top of it."""
