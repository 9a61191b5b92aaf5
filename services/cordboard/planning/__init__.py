"""How an input becomes a request and an answer an output: pure functions of a definition."""
