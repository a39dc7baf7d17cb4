"""An HTTP server of scores; start reading at ``app.py``. It needs the extra ``serve``."""
