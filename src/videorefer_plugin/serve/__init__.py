"""Models behind OpenAI's chat-completions interface, with regions in the requests."""
