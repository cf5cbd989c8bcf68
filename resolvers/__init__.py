"""What a user may do: ownership and rules, in plain async functions that return rows."""
