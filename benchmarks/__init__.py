"""What the server costs, beside servers that others would write: `python -m benchmarks --help`."""
