"""Models on today's transformers: the VideoLLaMA2.1 host and VideoRefer on top of it."""
