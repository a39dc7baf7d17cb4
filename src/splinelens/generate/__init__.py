"""Writing with a language model: samples, critics of what was written, and generate-and-test loops."""
