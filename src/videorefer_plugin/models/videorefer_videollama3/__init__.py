"""VideoRefer-VideoLLaMA3: VideoLLaMA3 of transformers with an object encoder that looks at crops."""
