"""The way to a model: answers over HTTP, read as they come, from sockets to server-sent events."""
