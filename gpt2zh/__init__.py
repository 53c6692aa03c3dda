"""gpt2zh: from folders of Chinese text to a GPT-2 that writes and chats."""

__version__ = "0.1.0"
