"""Real processes, foreign publishers with a book, and somebody who kills and cuts: see `run.py`."""
