"""The rows and every SQL statement, each with a name."""
