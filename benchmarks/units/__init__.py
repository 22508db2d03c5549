"""What the operator's speed is held against, unit by unit: `python -m benchmarks.units U2`, a module each."""
