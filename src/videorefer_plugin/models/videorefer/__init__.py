"""VideoRefer: the host with an object encoder, its processor, and the inputs for regions."""
