"""The judge of families of policies: how far a curve of them reaches, on seeds of its own.

`python -m benchmarks.frontier` writes docs/frontier.md.
"""
