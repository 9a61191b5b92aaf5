"""Benchmarks that print ratios, side by side in one run. `python -m bench --help` says how to run them."""
