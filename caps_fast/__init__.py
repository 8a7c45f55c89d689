"""caps-fast: a fast batch simulator of carbon-aware LLM-inference scheduling."""

__version__ = "0.1.0"
