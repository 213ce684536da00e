"""VideoRefer: the host with an object encoder, and everything needed to feed it regions."""
