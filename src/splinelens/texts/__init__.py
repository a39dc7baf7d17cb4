"""Texts, the columns beside them, and labels: from lists, files, standard input and the Hugging Face hub.

Rows are never dropped, cut or repaired in silence. Whatever cannot be read is refused with its line, or with
its row counted from 0, and no message quotes a text. Read ``sources`` first; ``wanted`` holds the wording.
"""

from splinelens.texts.hashes import text_hashes
from splinelens.texts.labels import Labels, binary_labels, read_labels
from splinelens.texts.rows import Texts
from splinelens.texts.sources import read_texts

__all__ = ["Labels", "Texts", "binary_labels", "read_labels", "read_texts", "text_hashes"]
