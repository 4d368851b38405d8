"""How fast it is (`python -m benchmarks`), and the commands behind the generated pages."""
