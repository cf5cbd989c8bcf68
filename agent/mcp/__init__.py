"""Tools of others: the MCP servers that a node keeps connected, and the bounds of what they may say."""
