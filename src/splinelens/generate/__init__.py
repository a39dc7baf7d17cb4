"""Writing with a language model under the eyes of critics: samples, critics, guards, generate-and-test loops."""
