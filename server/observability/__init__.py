"""What an operator sees of a running server: figures, log lines and traces."""
