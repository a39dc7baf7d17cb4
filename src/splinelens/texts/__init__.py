"""Texts, the columns beside them, and labels: from lists, files, standard input and the Hugging Face hub.

Rows are never dropped, cut or repaired silently. What cannot be read is refused with its line, or with its
row counted from 0, and no message quotes a text. Read ``sources`` first.
"""

from splinelens.texts.labels import Labels, read_labels
from splinelens.texts.sources import read_texts, stream_texts
from splinelens.texts.table import Texts, text_hashes

__all__ = ["Labels", "Texts", "read_labels", "read_texts", "stream_texts", "text_hashes"]
