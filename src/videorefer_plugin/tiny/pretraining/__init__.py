"""Pre-training: how the parts are made that other models take from elsewhere."""
