"""VideoLLaMA2.1: a SigLIP vision tower, the spatial-temporal convolution connector and a Qwen2 language model."""
