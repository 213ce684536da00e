"""Chat models as tools: behind an OpenAI-compatible endpoint, or loaded here."""
