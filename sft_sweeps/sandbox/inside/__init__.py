"""What runs inside a sandboxed run: compiled by `bundle`, and imported by `start.py` in processes of their own.

Their start is most of a run's time: they import few modules of the library, and none of this project's outside this
folder. Linux only.
"""
