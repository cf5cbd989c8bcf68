"""How GraphQL comes and goes: over HTTP, server-sent events and WebSocket, down to the frames."""
