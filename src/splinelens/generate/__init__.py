"""Writing with a language model: replies, critics of what was written, and the loop of both."""
